"""Stalls: when an agent is one, and which calls are progress."""

import asyncio
import threading
from functools import partial

import pytest

from conftest import COMPUTE, throughout, until
from ready_probe import Agent


def test_without_a_tick_it_is_stalled_and_the_next_one_ends_that(folder):
    with Agent("stalls", watchdog=0.3) as agent:
        agent.mark_ready()
        until("it is stalled", lambda: agent.state == "not_ready")
        assert "stalled: no progress for" in folder.says("stalls")
        agent.tick()
        assert folder.says("stalls") == "healthy: 1 check passes"


def test_the_watchdog_says_so_when_python_computes_with_the_gil_held_and_beats_go_on(start, folder):
    program = start(
        f"""
        import ready_probe
        agent = ready_probe.Agent("computes", ttl=1, heartbeat=0.05, watchdog=0.3)
        agent.mark_ready()
        print("ready")
        input()
        {COMPUTE}
        """
    )
    program.reads()
    program.tell()
    folder.until_says("computes", "stalled: no progress for")
    seq = folder.record("computes")["seq"]
    until("beats go on", lambda: folder.record("computes")["seq"] > seq + 10)


def test_progress_watches_while_the_work_runs_and_not_between(folder):
    agent = Agent("worker", watchdog=0.3)
    goes_on = threading.Event()

    @agent.progress
    def work(answer):
        """Works."""
        goes_on.wait()
        return answer

    assert work.__doc__ == "Works."
    agent.mark_ready()
    throughout(0.6, lambda: None if agent.state == "ready" else pytest.fail("not watched yet"))
    thread = threading.Thread(target=work, args=(1,))
    thread.start()
    until("it is stalled", lambda: agent.state == "not_ready")
    goes_on.set()
    thread.join()
    assert agent.state == "ready"
    assert work(42) == 42
    throughout(0.6, lambda: None if agent.state == "ready" else pytest.fail("no longer watched"))
    agent.close()


def test_work_that_fails_or_closes_the_agent_is_no_longer_watched(folder):
    agent = Agent("worker", watchdog=0.3)
    agent.mark_ready()

    @agent.progress
    def fail():
        raise ValueError("bad job")

    @agent.progress
    def close():
        agent.close()

    with pytest.raises(ValueError):
        fail()
    throughout(0.6, lambda: None if agent.state == "ready" else pytest.fail("no longer watched"))
    close()


def test_what_progress_can_t_watch_is_refused(folder):
    def generator():
        yield

    async def async_generator():
        yield

    with Agent("worker", watchdog=10) as agent:
        for function in (generator, async_generator, partial(generator), 5):
            with pytest.raises(TypeError, match="progress"):
                agent.progress(function)


def test_progress_watches_objects_that_are_called(folder):
    class Work:
        async def __call__(self, goes_on):
            await goes_on.wait()
            return 42

    async def main():
        with Agent("worker", watchdog=0.3) as agent:
            agent.mark_ready()
            goes_on = asyncio.Event()
            work = asyncio.create_task(agent.progress(Work())(goes_on))
            await asyncio.sleep(0)
            until("it is stalled", lambda: agent.state == "not_ready")
            goes_on.set()
            assert await work == 42
            assert agent.state == "ready"

    asyncio.run(main())


def test_repeated_marks_are_progress_to_the_watchdog_of_the_function(run):
    run(
        """
        import logging, time
        logging.getLogger("ready_probe").setLevel("ERROR")
        from ready_probe import mark_agent_ready, probe
        mark_agent_ready("function", watchdog=0.3)
        deadline = time.monotonic() + 20
        while probe("agent:function"):
            assert time.monotonic() < deadline
        assert "stalled" in probe("agent:function").reason
        mark_agent_ready("function")
        assert probe("agent:function")
        """
    )
