"""SIGTERM: what the package's handler does, and what it leaves to the application's."""

import signal

from conftest import documented


def test_by_default_no_signal_handler_is_installed(run):
    run(
        """
        import signal
        before = [signal.getsignal(n) for n in signal.valid_signals()]
        from ready_probe import Agent
        with Agent("signals"):
            assert [signal.getsignal(n) for n in signal.valid_signals()] == before
        """
    )


def test_sigterm_with_the_handler_removes_the_signal_and_ends_the_process_as_ever(start, folder):
    program = start(
        """
        import time
        from ready_probe import Agent
        agent = Agent("term", install_signal_handlers=True)
        agent.mark_ready()
        print("ready")
        while True:
            time.sleep(60)
        """
    )
    program.reads()
    program.process.send_signal(signal.SIGTERM)
    assert program.end() == (-signal.SIGTERM, "", "")
    assert folder.files("term") == []


# A signal that comes just before a call that blocks is heard only after it: nothing blocks for long here.
TOLD = """
from select import select
from sys import stdin
def told():
    while not select([stdin], [], [], 0.1)[0]:
        pass
    input()
"""


def test_the_documented_loop_finishes_its_job_and_begins_no_other(start, folder):
    block = documented("def stop(*_)")
    work = 'print("done", job)  # the work'
    assert work in block
    program = start(TOLD + block.replace(work, 'print("begun", job); told(); print("done", job)'))
    assert program.reads() == "begun one"
    program.process.send_signal(signal.SIGTERM)
    folder.until_says("worker", "stopping: SIGTERM")
    program.tell()
    assert program.end() == (0, "done one\n", "")
    assert folder.files("worker") == []


def test_the_previous_handler_runs_while_the_signal_says_stopping(start, folder):
    program = start(
        """
        import signal, sys
        from ready_probe import Agent
        def previous(signum, frame):
            print("draining")
            input()
            sys.exit(7)
        signal.signal(signal.SIGTERM, previous)
        agents = [Agent(name, install_signal_handlers=True) for name in ("one", "two")]
        for agent in agents:
            agent.mark_ready()
        agents.pop().close()
        print("ready")
        signal.pause()
        """
    )
    program.reads()
    program.process.send_signal(signal.SIGTERM)
    assert program.reads() == "draining"
    assert "stopping: SIGTERM" in folder.says("one")
    program.tell()
    assert program.end() == (7, "", "")
    assert folder.files("one") == []


def test_work_in_flight_at_sigterm_ends_well(start, folder):
    program = start(
        """
        import signal, time
        from ready_probe import Agent, ClosedError
        stopped = []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
        agent = Agent("flight", watchdog=10, install_signal_handlers=True)
        agent.mark_ready()
        @agent.progress
        def work(part):
            while not stopped:
                agent.tick()
                time.sleep(0.001)
            return part
        print("ready")
        print(work(1), work(2))
        try:
            agent.mark_ready()
        except ClosedError as e:
            print(e)
        input()
        agent.close()
        """
    )
    program.reads()
    program.process.send_signal(signal.SIGTERM)
    assert program.reads() == "1 2"
    assert program.reads().startswith("agent flight is stopping (SIGTERM)")
    assert "stopping: SIGTERM" in folder.says("flight")
    program.tell()
    assert program.end() == (0, "", "")
    assert folder.files("flight") == []


HANDLED = """
    import os, signal, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    from ready_probe import Agent
    def say(text):
        def handle(signum, frame):
            print(text, flush=True)
            input()
            sys.exit(7)
        return handle
    signal.signal(signal.SIGTERM, say("first"))
    """


def test_an_agent_made_after_another_handler_came_is_not_forgotten(start, folder):
    program = start(
        HANDLED
        + """
    Agent("one", install_signal_handlers=True)
    ours = signal.getsignal(signal.SIGTERM)
    def second(signum, frame):
        print("second")
        ours(signum, frame)
    signal.signal(signal.SIGTERM, second)
    Agent("two", install_signal_handlers=True)
    os.kill(os.getpid(), signal.SIGTERM)
    """
    )
    assert (program.reads(), program.reads()) == ("second", "first")
    for name in ("one", "two"):
        assert "stopping: SIGTERM" in folder.says(name)
    program.tell()
    assert program.end() == (7, "", "")


def test_an_agent_of_a_forked_child_that_has_its_own_handler_is_not_forgotten(start, folder):
    # As gunicorn's workers do.
    program = start(
        HANDLED
        + """
    Agent("parent", install_signal_handlers=True)
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, say("child"))
        Agent("child", install_signal_handlers=True)
        os.kill(os.getpid(), signal.SIGTERM)
    os.wait()
    """
    )
    assert program.reads() == "child"
    assert "stopping: SIGTERM" in folder.says("child")
    assert "starting" in folder.says("parent")
    program.tell()
    assert program.end() == (0, "", "")


def test_only_the_main_thread_may_install_it(run, folder):
    run(
        """
        import threading, ready_probe
        def make():
            try:
                ready_probe.Agent("thread", install_signal_handlers=True)
            except ready_probe.ConfigError as e:
                print(e)
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        ready_probe.Agent("thread").close()
        """
    )
    assert folder.files("thread") == []


TAKEN = """
    import logging, signal, sys
    logging.basicConfig(format="%(levelname)s %(agent)s %(message)s")
    from ready_probe import Agent
    agents = [Agent(name, install_signal_handlers=True) for name in ("one", "two")]
    """


def test_a_handler_that_takes_the_place_of_ours_is_noticed_and_said_once(start):
    program = start(
        TAKEN
        + """
    ours = signal.getsignal(signal.SIGTERM)
    def handle(signum, frame):
        pass
    signal.signal(signal.SIGTERM, handle)
    print("taken")
    input()
    signal.signal(signal.SIGTERM, ours)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    input()
    """
    )
    program.reads()
    line = program.process.stderr.readline()
    assert line.startswith("WARNING one SIGTERM is handled by __main__.handle now, which came after"), line
    assert "unless it does, agents one, two do not say stopping" in line
    program.tell()
    program.tell()
    assert program.end() == (0, "", "")


def test_a_handler_that_is_ours_again_or_no_agent_that_wants_one_is_nothing_to_say(start):
    program = start(
        TAKEN
        + """
    import time
    from ready_probe import _signals
    asked = []
    look = _signals._look
    def counted():
        asked.append(look())
        return asked[-1]
    _signals._log.look_with(counted)
    def until_asked(count):
        deadline = time.monotonic() + 20
        while len(asked) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    until_asked(3)
    assert asked == [()] * len(asked)
    for agent in agents:
        agent.close()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    until_asked(len(asked) + 1)
    assert asked[-1] is None
    """
    )
    assert program.end() == (0, "", "")
