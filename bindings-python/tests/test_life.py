"""How processes end, and what is left of their agents."""

import signal
import sys

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
