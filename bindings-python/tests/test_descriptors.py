"""A process that closes all its descriptors, as a daemonizer does, and opens others under the same
numbers."""

import time

import pytest

from conftest import free_port, until

# Longer than a machine stands still.
TTL = 6
# How often a program is started anew whose heartbeat was at work while its descriptors were closed.
TRIES = 50

DAEMON = """
    import os, sys
    from time import monotonic, sleep
    from ready_probe import Agent

    agent = Agent("daemon", ttl={ttl}, heartbeat=0.2)
    agent.mark_ready()
    if {announced}:
        agent.wait_announced(20)

    def resting():
        # How often the threads that beat have stopped running; nothing while one runs, or waits to.
        found = []
        for task in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{{task}}/status") as status:
                    lines = status.read().splitlines()
            except OSError:
                continue
            if lines[0] == "Name:\\tready-probe":
                if "State:\\tS (sleeping)" not in lines:
                    return None
                found += [line for line in lines if "voluntary_ctxt" in line]
        return found

    deadline = monotonic() + 20
    before = None
    while before != (before := resting()) or before is None:
        assert monotonic() < deadline
        sleep(0.02)
    last = max(map(int, os.listdir("/proc/self/fd")))
    os.closerange(3, last + 1)
    pipes = [os.pipe()]
    while pipes[-1][1] <= last:
        pipes.append(os.pipe())
    for reader, writer in pipes:
        os.set_blocking(reader, False)
        os.write(writer, b"x")
    # Closing descriptors in the middle of a call hits that call.
    print("replaced" if resting() == before else "disturbed", flush=True)
    for line in sys.stdin:
        if line == "mark\\n":
            agent.mark_not_ready("daemonized")
            agent.mark_ready()
        if line == "wait\\n":
            agent.wait_announced(20)
        if line == "look\\n":
            for reader, writer in pipes:
                assert os.read(reader, 256) == b"x", reader
                os.write(writer, b"x")
        print("done", flush=True)
    """


class Daemon:
    def __init__(self, start, folder, *, announced, **environment):
        self.folder = folder
        code = DAEMON.format(announced=announced, ttl=TTL)
        for _ in range(TRIES):
            self.program = start(code, **environment)
            if (said := self.program.reads()) == "replaced":
                return
            assert said == "disturbed"
            self.program.process.kill()
            self.program.process.wait()
            for file in folder.files("daemon"):
                file.unlink()
        pytest.fail("its heartbeat never rests")

    def does(self, *lines):
        for line in lines:
            self.program.tell(line)
            assert self.program.reads() == "done"

    def beats_on(self):
        """For a second at least."""
        after_ms = time.monotonic() * 1_000 + 1_000
        until("it beats", lambda: self._is_ready() and self.folder.record("daemon")["mono_ms"] > after_ms)
        self.does("look")

    def _is_ready(self):
        # Degraded is ready, and not announced.
        said = self.folder.says("daemon")
        assert said == "healthy: 1 check passes" or "daemon: not announced" in said
        return True


def test_without_a_store_the_agent_beats_on(start, folder):
    daemon = Daemon(start, folder, announced=False)
    daemon.beats_on()
    daemon.does("mark")
    daemon.beats_on()
    assert daemon.program.end() == (0, "", "")
    assert folder.files("daemon") == []


def test_with_a_store_that_is_away_the_agent_beats_on(start, folder):
    daemon = Daemon(start, folder, announced=False, READY_STORE=f"redis://127.0.0.1:{free_port()}")
    daemon.does("mark")
    daemon.beats_on()
    status, out, err = daemon.program.end()
    assert (status, out) == (0, "")
    assert "panicked" not in err
    assert "has closed the heartbeat's descriptors" in err


@pytest.mark.parametrize("kind", ["redis", "nats"])
def test_with_a_store_the_agent_is_announced_anew(start, folder, request, kind):
    server = request.getfixturevalue(kind)
    daemon = Daemon(start, folder, announced=True, READY_STORE=server.url)
    daemon.beats_on()
    until("it is announced anew", lambda: folder.record("daemon")["announced"]["ok"])
    daemon.does("mark", "wait")
    daemon.beats_on()
    status, out, err = daemon.program.end()
    assert (status, out) == (0, "")
    assert "panicked" not in err
