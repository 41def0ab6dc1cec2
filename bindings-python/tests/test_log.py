"""The thread that logs: it imports nothing, leaves a forked child no lock to wait for, and goes on
whatever the application's handlers do.

The programs import nothing else, since that may be what would have gone wrong.
"""

import pytest

from conftest import free_port

# The store refuses, which is logged at once.
REFUSED = """
    import os
    from ready_probe import Agent, mark_agent_ready
    mark_agent_ready("t", store="redis://127.0.0.1:{port}")
    """


@pytest.fixture
def refused():
    return REFUSED.format(port=free_port())


def test_a_process_whose_agent_stalls_ends(start, folder):
    program = start(
        """
        from time import sleep
        from ready_probe import Agent
        agent = Agent("t", watchdog=0.1)
        agent.mark_ready()
        while agent.state == "ready":
            sleep(0.01)
        sleep(0.2)
        """
    )
    status, out, err = program.end()
    assert (status, out) == (0, "")
    assert "agent stalled" in err
    assert folder.files("t") == []


def test_without_logging_there_are_warnings_only(start):
    program = start(
        """
        import sys
        from time import sleep
        from ready_probe import Agent
        agent = Agent("t", watchdog=0.1)
        for _ in range(2):
            agent.mark_ready()
            while agent.state == "ready":
                sleep(0.01)
            agent.tick()
        agent.close()
        print("logging" in sys.modules)
        """
    )
    status, out, err = program.end()
    assert (status, out) == (0, "False\n")
    assert err.count("agent stalled") == len(err.splitlines()) == 2, err


def test_the_main_thread_stays_the_main_thread(start):
    program = start(
        """
        from time import sleep
        from ready_probe import Agent
        agent = Agent("t", watchdog=0.1)
        agent.mark_ready()
        while agent.state == "ready":
            sleep(0.01)
        sleep(0.2)
        Agent("s", install_signal_handlers=True)
        import threading
        print(threading.current_thread() is threading.main_thread())
        """
    )
    status, out, err = program.end()
    assert (status, out) == (0, "True\n"), err


def test_a_child_that_is_forked_right_after_a_mark_may_import_what_it_wants(start, refused):
    programs = [
        start(
            refused
            + f"""
    from time import sleep
    sleep({pause})
    if os.fork() == 0:
        import logging
        logging.getLogger("child").warning("logs")
        os._exit(0)
    os.wait()
    """,
            options=("-W", "ignore"),
        )
        for pause in (0, 0.0005, 0.001, 0.002, 0.003, 0.005) * 4
    ]
    for program in programs:
        status, _, err = program.end()
        assert status == 0, err
        assert "logs" in err


def test_multiprocessing_s_workers_that_are_forked_right_after_a_mark_end(start, refused):
    program = start(
        refused
        + """
    def work(number):
        mark_agent_ready(f"worker-{number}", store=None)
    from multiprocessing import get_context
    fork = get_context("fork")
    children = [fork.Process(target=work, args=(number,)) for number in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print([child.exitcode for child in children])
    """,
        options=("-W", "ignore"),
    )
    status, out, err = program.end()
    assert (status, out) == (0, f"{[0] * 8}\n"), err


# Called in the thread that logs, and without the lock that logging itself holds for handlers.
HANDLER = """
    import logging, threading
    from time import monotonic, sleep
    lock, called = threading.Lock(), threading.Event()
    class Handler(logging.Handler):
        def handle(self, record):
            {body}
    logging.getLogger("ready_probe").addHandler(Handler())
    """


@pytest.mark.parametrize("first", ["logging", "ready_probe"])
def test_a_fork_waits_for_a_handler_that_holds_a_lock(start, refused, first):
    # Of two hooks the later one runs first, and logging's takes the lock that getLogger waits for.
    body = "lock.acquire(); called.set(); sleep(0.03); logging.getLogger('other'); lock.release()"
    program = start(
        f"""
    import {first}
    """
        + HANDLER.format(body=body)
        + refused
        + """
    called.wait()
    if os.fork() == 0:
        os._exit(0 if lock.acquire(timeout=5) else 1)
    _, status = os.wait()
    print(status, threading.current_thread().name)
    """,
        options=("-W", "ignore"),
    )
    status, out, err = program.end()
    assert (status, out) == (0, "0 MainThread\n"), err


def test_a_fork_does_not_wait_for_ever_for_a_handler_that_does_not_return(start, refused):
    program = start(
        HANDLER.format(body="called.set(); threading.Event().wait()")
        + refused
        + """
    called.wait()
    for _ in range(3):
        begin = monotonic()
        if os.fork() == 0:
            mark_agent_ready("child", store=None)
            os._exit(0)
        took = monotonic() - begin
        _, status = os.wait()
        assert status == 0 and 0.09 < took < 5, (status, took)
    """,
        options=("-W", "ignore"),
    )
    assert program.end() == (0, "", "")


def test_a_handler_may_fork(start, refused):
    body = "took.append(forks()); called.set()"
    program = start(
        HANDLER.format(body=body)
        + """
    took = []
    def forks():
        begin = monotonic()
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        return monotonic() - begin
    """
        + refused
        + """
    assert called.wait(20)
    assert took[0] < 0.09, took
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    """,
        options=("-W", "ignore"),
    )
    assert program.end() == (0, "", "")


def test_threads_that_fork_at_once_leave_the_log_going(start):
    program = start(
        """
    import logging, os, sys, threading
    from time import monotonic, sleep
    lines = []
    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())
            sleep(0.02)
    logging.getLogger("ready_probe").addHandler(Handler())
    logging.getLogger("ready_probe").setLevel("INFO")
    from ready_probe import Agent
    agent = Agent("t", watchdog=0.1)
    agent.mark_ready()
    end = monotonic() + 1.5
    def forks():
        while monotonic() < end:
            if os.fork() == 0:
                os._exit(0)
            os.wait()
    threads = [threading.Thread(target=forks) for _ in range(4)]
    for thread in threads:
        thread.start()
    while monotonic() < end:
        agent.tick()
        sleep(0.15)
    for thread in threads:
        thread.join()
    agent.tick()
    seen, deadline = len(lines), monotonic() + 20
    while len(lines) <= seen:
        assert monotonic() < deadline, "nothing is logged any more"
        sleep(0.01)
    """,
        options=("-W", "ignore"),
    )
    status, _, err = program.end()
    assert status == 0, err


def test_what_is_logged_while_there_are_no_descriptors_does_not_end_the_log(start):
    program = start(
        """
    import logging, os, resource
    from time import sleep
    from ready_probe import Agent
    agent = Agent("t", ttl=1, heartbeat=0.1)
    agent.mark_ready()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, most))
    print("used up", flush=True)
    input()
    # Where a message goes is settled before there is one again; importing it needs a descriptor.
    logging.basicConfig(level="INFO")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print("back", flush=True)
    input()
    """
    )
    assert program.reads() == "used up"
    # Without logging a warning goes to stderr.
    assert "can't be written" in program.process.stderr.readline()
    program.tell()
    assert program.reads() == "back"
    assert "is written again" in program.process.stderr.readline()
    program.tell()
    assert program.end()[0] == 0


def test_a_handler_that_raises_what_ends_a_thread_silences_nothing_that_follows(start):
    program = start(
        HANDLER.format(body="called.set(); raise SystemExit")
        + """
    logging.getLogger("ready_probe").setLevel("INFO")
    logging.getLogger("ready_probe").propagate = False
    import sys
    sys.excepthook = lambda kind, *_: print(kind.__name__, flush=True)
    from ready_probe import Agent
    agent = Agent("t", watchdog=0.1)
    agent.mark_ready()
    for _ in range(2):
        assert called.wait(20)
        called.clear()
        agent.tick()
    assert called.wait(20)
    """
    )
    status, out, err = program.end()
    assert (status, err) == (0, ""), out
    assert out.splitlines()[0] == "SystemExit"
