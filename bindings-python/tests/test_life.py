"""How processes end, are signalled and forked, and what is left of their agents."""

import signal
import sys

import pytest

from conftest import until


def test_the_exit_hook_says_stopping_and_leaves_nothing(run, folder):
    run(
        """
        from ready_probe import Agent, mark_agent_ready
        mark_agent_ready("function")
        Agent("object").mark_ready()
        """
    )
    assert folder.files("function") == folder.files("object") == []


def test_an_uncaught_exception_ends_as_ever(start, folder):
    program = start(
        """
        from ready_probe import mark_agent_ready
        mark_agent_ready("fails")
        raise SystemExit(3)
        """
    )
    assert program.end() == (3, "", "")
    assert folder.files("fails") == []


def test_a_killed_process_is_not_ready_at_once(start, folder):
    program = start(
        """
        from ready_probe import mark_agent_ready
        mark_agent_ready("killed")
        print("ready")
        input()
        """
    )
    program.reads()
    program.process.kill()
    program.end()
    assert f"process {program.pid} is gone" in folder.says("killed")


def test_threads_that_go_on_calling_do_not_hang_or_disturb_the_end(run):
    # The end of an interpreter is a race: many ends, each with threads in every kind of call.
    code = """
        import threading
        from ready_probe import Agent, mark_agent_ready
        agent = Agent("threads", watchdog=10)
        def forever(call):
            while True:
                call()
        calls = [
            agent.mark_ready, agent.tick, lambda: agent.state, lambda: mark_agent_ready("other"),
            lambda: agent.announced, lambda: agent.mark_not_ready("busy"),
        ]
        for call in calls:
            threading.Thread(target=forever, args=(call,), daemon=True).start()
        while agent.state == "starting":
            pass
        """
    for _ in range(15):
        run(code)


def test_threads_that_begin_at_once_lose_no_agent(run):
    # A race: many beginnings, each in a process that has not begun, of threads that dawdle.
    run(
        """
        import gc, os, random, sys, threading, time, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from ready_probe import Agent
        folder = os.environ["READY_DIR"]
        def begin():
            names = [f"agent{i}" for i in range(8)]
            barrier = threading.Barrier(len(names))
            def make(name):
                barrier.wait()
                sys.setprofile(lambda *_: random.random() < 0.1 and time.sleep(0.02))
                Agent(name).mark_ready()
            threads = [threading.Thread(target=make, args=(name,)) for name in names]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            gc.collect()
            assert all(len(os.listdir(os.path.join(own, name))) == 1 for name in names)
        children = 100
        for i in range(children):
            if os.fork() == 0:
                own = os.environ["READY_DIR"] = os.path.join(folder, str(i))
                begin()
                sys.exit(0)
        assert [os.wait()[1] for _ in range(children)] == [0] * children
        """
    )


def test_ctrl_c_while_the_exit_hook_waits_for_a_store_says_nothing(start, folder, redis):
    program = start(
        f"""
        import ready_probe
        agent = ready_probe.Agent("waits", store={redis.url!r})
        agent.wait_announced(20)
        print("ready")
        input()
        """
    )
    program.reads()
    redis.pause()
    program.tell()
    # Its own signal is gone, and the store's is waited for.
    until("it ends", lambda: folder.files("waits") == [])
    program.process.send_signal(signal.SIGINT)
    assert program.end() == (0, "", "")


def test_a_hook_that_runs_after_ours_may_still_mark(run, folder):
    run(
        """
        import atexit
        atexit.register(lambda: ready_probe.mark_agent_not_ready("late", "graceful shutdown"))
        atexit.register(lambda: agent.mark_not_ready("graceful shutdown"))
        atexit.register(lambda: agent.close())
        import ready_probe
        ready_probe.mark_agent_ready("late")
        agent = ready_probe.Agent("late2")
        """
    )
    assert folder.files("late") == folder.files("late2") == []


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


FORKED = """
    import os, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    import ready_probe
    from ready_probe import Agent, mark_agent_not_ready, mark_agent_ready
    agent = Agent("object", ttl=1, heartbeat=0.1, watchdog=10)
    agent.mark_ready()
    mark_agent_ready("function")
    def refused(call):
        try:
            call()
        except ready_probe.ForkedProcessError:
            return True
    """


def test_a_forked_child_publishes_its_own_and_not_its_parent_s(run, folder):
    run(
        FORKED
        + """
    for _ in range(20):
        if os.fork() == 0:
            calls = [agent.mark_ready, agent.tick, agent.close, lambda: agent.state,
                     lambda: agent.announced, lambda: agent.mark_not_ready("x"),
                     lambda: mark_agent_not_ready("function", "x")]
            assert all([refused(call) for call in calls])
            mark_agent_ready("function")
            mark_agent_ready("child")
            assert ready_probe.probe("agent:child")
            own = Agent("object")
            own.mark_ready()
            sys.exit(0)
        assert os.wait()[1] == 0
        assert ready_probe.probe(["agent:function", "agent:object"])
    """
    )
    assert [folder.files(name) for name in ("function", "object", "child")] == [[], [], []]


@pytest.mark.parametrize("end", ["sys.exit(0)", "pass", "raise ValueError"])
def test_a_forked_child_may_leave_a_block_of_its_parent_s(run, end):
    run(
        FORKED
        + f"""
    try:
        with Agent("block") as block, block.drain("deploy"):
            child = block.progress(os.fork)()
            if child == 0:
                {end}
            else:
                assert os.waitpid(child, 0)[1] == 0
                assert ready_probe.probe("agent:block").reason.endswith("stopping: deploy")
    except ValueError:
        pass
    """
    )


def test_a_child_that_publishes_nothing_leaves_the_parent_s_signals_alone(run):
    run(
        FORKED
        + """
    for _ in range(20):
        if os.fork() == 0:
            sys.exit(0)
        assert os.wait()[1] == 0
        assert ready_probe.probe(["agent:function", "agent:object"])
    """
    )


def test_forks_in_the_middle_of_calls_do_not_hang(run):
    run(
        FORKED
        + """
    import threading
    def forever(call):
        while True:
            call()
    for call in (agent.mark_ready, lambda: mark_agent_ready("function"), agent.tick):
        threading.Thread(target=forever, args=(call,), daemon=True).start()
    for _ in range(100):
        if os.fork() == 0:
            mark_agent_ready("child")
            Agent("object").close()
            sys.exit(0)
        assert os.wait()[1] == 0
    """
    )


def test_what_a_program_that_replaces_itself_said_lasts_until_the_ttl_ends(start, folder):
    program = start(
        """
        import os, sys
        from ready_probe import Agent
        agent = Agent("exec", ttl=1)
        agent.mark_ready()
        os.execv(sys.executable, [sys.executable, "-c", "print('replaced'); input()"])
        """
    )
    assert program.reads() == "replaced"
    folder.until_says("exec", "expired")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_multiprocessing_child_publishes_and_its_exit_hook_runs(start, folder, tmp_path, method):
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import multiprocessing, warnings
import ready_probe

def work(pipe):
    ready_probe.mark_agent_ready("child")
    agent = ready_probe.Agent("object")
    agent.mark_ready()
    pipe.send("ready")
    pipe.recv()

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    context = multiprocessing.get_context({method!r})
    ready_probe.mark_agent_ready("parent")
    here, there = context.Pipe()
    child = context.Process(target=work, args=(there,))
    child.start()
    assert here.recv() == "ready"
    print("ready")
    input()
    here.send("end")
    child.join()
    print("ended", child.exitcode)
    input()
"""
    )
    program = start(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")
    assert program.reads() == "ready"
    for name in ("parent", "child", "object"):
        assert folder.says(name) == "healthy: 1 check passes"
    program.tell()
    assert program.reads() == "ended 0"
    assert folder.files("child") == folder.files("object") == []
    assert folder.says("parent") == "healthy: 1 check passes"
    program.tell()
    assert program.end() == (0, "", "")


def test_a_second_interpreter_is_refused_with_a_reason(run):
    interpreters = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    out = run(
        f"""
        import ready_probe
        import {interpreters} as interpreters
        code = [
            "try:",
            "    import ready_probe",
            "except ImportError as e:",
            "    print(e, flush=True)",
        ]
        interpreters.run_string(interpreters.create(), chr(10).join(code))
        """
    )
    assert "subinterpreters" in out


LOGS = """
    import logging, os, threading, time
    logging.basicConfig(level="INFO", format="%(name)s %(levelname)s %(agent)s %(message)s")
    from ready_probe import Agent
    agent = Agent("logs", watchdog=0.2)
    agent.mark_ready()
    deadline = time.monotonic() + 20
    while agent.state == "ready":
        assert time.monotonic() < deadline
    """
STALLED = "ready_probe WARNING logs agent logs: agent stalled: no progress for "


def test_what_the_sdk_logs_reaches_the_logger_before_the_end(start):
    program = start(LOGS + "agent.tick()\n")
    status, _, err = program.end()
    lines = err.splitlines()
    assert status == 0
    assert lines[0].startswith(STALLED)
    assert lines[1] == "ready_probe INFO logs agent logs: agent makes progress again"


def test_a_forked_child_logs_too(start):
    program = start(
        LOGS
        + """
    if os.fork() == 0:
        agent = Agent("logs", watchdog=0.2)
        agent.mark_ready()
        while agent.state == "ready":
            assert time.monotonic() < deadline
    else:
        os.wait()
    """,
        options=("-W", "ignore"),
    )
    status, _, err = program.end()
    assert status == 0
    assert err.count(STALLED) == 2


GREEN = {
    "gevent": "from gevent import monkey, sleep, spawn; monkey.patch_all()",
    "eventlet": "from eventlet import monkey_patch, sleep, spawn; monkey_patch()",
}


@pytest.mark.parametrize("library", GREEN)
def test_green_threads_go_on_while_an_agent_lives_and_it_logs(run, library):
    run(
        f"""
        {GREEN[library]}
        import logging, time
        lines = []
        class Lines(logging.Handler):
            def emit(self, record):
                lines.append(record.getMessage())
        logging.getLogger("ready_probe").addHandler(Lines())
        logging.getLogger("ready_probe").setLevel("INFO")
        from ready_probe import Agent, mark_agent_ready, probe
        turns = []
        def take_turns():
            while True:
                turns.append(time.monotonic())
                sleep(0.001)
        spawn(take_turns)
        deadline = time.monotonic() + 20
        def until(look):
            while not look():
                assert time.monotonic() < deadline
                sleep(0.001)
        mark_agent_ready("function")
        agent = Agent("object", watchdog=0.2)
        agent.mark_ready()
        assert probe(["agent:function", "agent:object"])
        until(lambda: agent.state == "not_ready")
        until(lambda: lines)
        agent.tick()
        until(lambda: len(lines) == 2)
        assert lines[0].startswith("agent object: agent stalled"), lines
        assert len(turns) > 10
        """,
        options=("-W", "ignore"),
    )


def test_an_agent_does_not_keep_gevent_s_loop_going(run):
    run(
        """
        from gevent import monkey; monkey.patch_all()
        import gevent
        from ready_probe import mark_agent_ready
        mark_agent_ready("function")
        gevent.spawn(gevent.sleep, 0.01)
        assert gevent.wait(timeout=20)
        """
    )


FILTERED = """
    import logging, threading
    class Filter(logging.Filter):
        def filter(self, record):
            {body}
    logging.getLogger("ready_probe").addFilter(Filter())
    """


def test_a_filter_that_raises_silences_nothing_that_follows(start):
    body = "assert 'progress again' in record.getMessage(), 'bad filter'; return True"
    program = start(FILTERED.format(body=body) + LOGS + "agent.tick()\n")
    status, _, err = program.end()
    assert status == 0
    assert "AssertionError: bad filter" in err
    assert err.splitlines()[-1].endswith("agent logs: agent makes progress again")


def test_a_filter_that_blocks_does_not_keep_the_process_from_ending(start):
    program = start(FILTERED.format(body="threading.Event().wait()") + LOGS)
    assert program.end() == (0, "", "")
