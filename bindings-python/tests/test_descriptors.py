"""A process that closes all its descriptors, as a daemonizer does, and opens others under the same
numbers."""

import pytest

from conftest import free_port, throughout, until

DAEMON = """
    import os, sys
    from time import monotonic, sleep
    from ready_probe import Agent

    agent = Agent("daemon", ttl=1, heartbeat=0.2)
    agent.mark_ready()
    if {announced}:
        agent.wait_announced(20)

    def switches():
        # Of the thread that beats: closing descriptors in the middle of a call hits that call.
        found = []
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{{task}}/status") as status:
                lines = status.read().splitlines()
            if lines[0] == "Name:\\tready-probe":
                found += [line for line in lines if "voluntary_ctxt" in line]
        return found

    deadline = monotonic() + 20
    before = None
    while before != (before := switches()):
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
    print("replaced", flush=True)
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
        self.program = start(DAEMON.format(announced=announced), **environment)
        assert self.program.reads() == "replaced"

    def does(self, *lines):
        for line in lines:
            self.program.tell(line)
            assert self.program.reads() == "done"

    def beats_on(self):
        """For longer than a signal lives without a beat."""
        throughout(1.5, lambda: self._is_ready())
        self.does("look")

    def _is_ready(self):
        # Degraded is ready, and not announced.
        said = self.folder.says("daemon")
        assert said == "healthy: 1 check passes" or "daemon: not announced" in said


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
