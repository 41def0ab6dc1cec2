"""Processes that fork, replace themselves, or come from multiprocessing."""

import pytest

FORKED = """
    import os, sys, time, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    import ready_probe
    from ready_probe import Agent, mark_agent_not_ready, mark_agent_ready
    agent = Agent("object", ttl=10, heartbeat=0.1, watchdog=300)
    agent.mark_ready()
    mark_agent_ready("function")
    def refused(call):
        try:
            call()
        except ready_probe.ForkedProcessError:
            return True
    # On a busy machine a beat may be late for a moment; one that has stopped never comes.
    def are_alive():
        deadline = time.monotonic() + 20
        while not ready_probe.probe(["agent:function", "agent:object"]):
            assert time.monotonic() < deadline
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
        assert are_alive()
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


def test_work_in_a_child_is_that_of_the_agent_it_has_marked(run):
    run(
        FORKED
        + """
    if os.fork() == 0:
        mark_agent_ready("object")
        with agent.working() as call:
            call.tick()
            agent.tick()
        agent.disarm()
        assert ready_probe.find_agent("object").state == "ready"
        sys.exit(0)
    assert os.wait()[1] == 0
    assert are_alive()
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
        assert are_alive()
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
    for _ in range(50):
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


def test_work_in_a_forked_child_goes_on_and_one_warning_says_what_to_do(start, folder):
    # A module that makes its agent, decorates with it, and is forked afterwards: Celery, gunicorn --preload.
    program = start(
        FORKED
        + """
    @agent.progress
    def work(n):
        agent.tick()
        return n

    if os.fork() == 0:
        assert [work(n) for n in range(3)] == [0, 1, 2]
        with agent.working() as call:
            call.tick()
            agent.arm()
            agent.disarm()
        assert agent.progress(len)("abc") == 3
        assert refused(agent.mark_ready) and ready_probe.find_agent("object") is None
        sys.exit(0)
    assert os.wait()[1] == 0
    assert work(1) == 1
    """
    )
    status, out, err = program.end()
    assert (status, out) == (0, "")
    (warning,) = err.splitlines()
    assert warning.startswith(f"ready_probe: agent object belongs to process {program.pid}, which")
    assert "make Agent('object') in each child" in warning


def test_work_in_a_forked_child_counts_for_the_child_s_own_agent_of_that_name(run):
    run(
        FORKED
        + """
    import logging, threading, time
    hangs = threading.Event()
    @agent.progress
    def work():
        agent.tick()
        hangs.wait()
    if os.fork() == 0:
        # As the warning says, and with the name that all processes share.
        logging.getLogger("ready_probe").setLevel("ERROR")
        own = Agent("object", watchdog=1)
        own.mark_ready()
        work_thread = threading.Thread(target=work)
        work_thread.start()
        deadline = time.monotonic() + 20
        while own.state == "ready":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        hangs.set()
        work_thread.join()
        assert own.state == "ready"
        # Between calls it is idle.
        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert own.state == "ready"
            time.sleep(0.01)
        sys.exit(0)
    assert os.wait()[1] == 0
    """
    )


def test_the_warning_goes_to_the_logger_where_logging_is_there(run):
    run(
        FORKED
        + """
    import logging
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logging.getLogger("ready_probe").addHandler(handler)
    if os.fork() == 0:
        for _ in range(3):
            with agent.working():
                pass
        assert [(r.levelname, r.agent) for r in records] == [("WARNING", "object")]
        sys.exit(0)
    assert os.wait()[1] == 0
    """
    )


def test_a_child_that_is_forked_within_a_call_leaves_it_to_its_parent(run):
    run(
        FORKED
        + """
    with agent.working():
        if os.fork() == 0:
            own = Agent("object", watchdog=10)
            own.mark_ready()
            with own.working():
                own.tick()
            sys.exit(0)
        assert os.wait()[1] == 0
        agent.tick()
    assert ready_probe.probe("agent:object")
    """
    )
