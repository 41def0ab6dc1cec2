"""Agents of asyncio: the loop proves its own progress."""

import asyncio
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

import ready_probe
from conftest import PATIENCE, throughout, until
from ready_probe import aio


async def until_async(what, look):
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.005)


def test_its_life_is_that_of_the_block(folder):
    async def main():
        async with aio.Agent("life") as agent:
            assert (agent.name, agent.state, agent.announced) == ("life", "starting", None)
            await agent.mark_ready({"port": 1})
            assert folder.says("life") == "healthy: 1 check passes"
            assert repr(agent) == "<ready_probe.aio.Agent life: ready>"
            await agent.mark_not_ready("reloading")
            assert "not_ready: reloading" in folder.says("life")
            await agent.mark_stopping("deploy")
            assert "stopping: deploy" in folder.says("life")
            await agent.close("deploy")
            with pytest.raises(ready_probe.ClosedError):
                await agent.mark_ready()
        assert folder.files("life") == []

    asyncio.run(main())


def test_an_exception_becomes_the_reason(folder):
    async def main():
        async with aio.Agent("fails"):
            raise ValueError("no such model")

    with pytest.raises(ValueError):
        asyncio.run(main())
    assert "stopping: ValueError: no such model" in folder.says("fails")


def test_a_cancelled_block_leaves_nothing(folder):
    async def main():
        entered = asyncio.Event()

        async def block():
            async with aio.Agent("cancelled") as agent:
                await agent.mark_ready()
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(block())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert folder.files("cancelled") == []

    asyncio.run(main())


@pytest.mark.parametrize("limit", [1.0, timedelta(seconds=1)])
def test_a_blocked_loop_is_stalled_and_recovers_by_itself(folder, limit):
    async def main():
        async with aio.Agent("loop", watchdog=limit) as agent:
            await agent.mark_ready()
            # The loop runs: for longer than the limit nothing happens.
            end = time.monotonic() + 2
            while time.monotonic() < end:
                assert agent.state == "ready"
                await asyncio.sleep(0.01)
            # It does not: this blocks it.
            until("it is stalled", lambda: agent.state == "not_ready")
            assert "stalled: no progress for" in folder.says("loop")
            await until_async("it recovers", lambda: agent.state == "ready")
            assert folder.says("loop") == "healthy: 1 check passes"

    asyncio.run(main())


def test_without_a_watchdog_a_blocked_loop_is_its_own_affair(folder):
    async def main():
        async with aio.Agent("loop", watchdog=None) as agent:
            await agent.mark_ready()
            throughout(0.5, lambda: None if agent.state == "ready" else pytest.fail("watched"))

    asyncio.run(main())


def test_work_under_progress_has_to_tick_and_an_idle_loop_has_not(folder):
    async def main():
        async with aio.Agent("worker", watchdog=1.0) as agent:
            await agent.mark_ready()
            goes_on = asyncio.Event()

            @agent.progress
            async def wait():
                """Waits."""
                await goes_on.wait()
                return 42

            @agent.progress
            def compute():
                return 43

            assert wait.__doc__ == "Waits."
            task = asyncio.create_task(wait())
            await until_async("it is stalled", lambda: agent.state == "not_ready")
            agent.tick()
            assert agent.state == "ready"
            goes_on.set()
            assert (await task, compute()) == (42, 43)
            end = time.monotonic() + 2
            while time.monotonic() < end:
                assert agent.state == "ready"
                await asyncio.sleep(0.01)

    asyncio.run(main())


def test_it_needs_a_running_loop(folder):
    with pytest.raises(RuntimeError, match="no running event loop: make and mark an aio.Agent in a coroutine"):
        aio.Agent("nowhere")
    assert folder.files("nowhere") == []


def test_each_task_s_work_has_to_tick(folder):
    async def main():
        async with aio.Agent("worker", watchdog=1.0) as agent:
            await agent.mark_ready()
            goes_on = asyncio.Event()

            async def hang():
                with agent.working():
                    await goes_on.wait()

            @agent.progress
            async def work():
                while not goes_on.is_set():
                    agent.tick()
                    await asyncio.sleep(0.001)

            tasks = asyncio.create_task(hang()), asyncio.create_task(work())
            await until_async("it is stalled", lambda: agent.state == "not_ready")
            assert " in 1 of 2 calls" in folder.says("worker")
            goes_on.set()
            await asyncio.gather(*tasks)
            assert agent.state == "ready"

    asyncio.run(main())


def test_work_that_blocks_the_loop_and_ticks_is_not_stalled(folder):
    async def main():
        async with aio.Agent("worker", watchdog=1.0) as agent:
            await agent.mark_ready()
            with agent.working():
                end = time.monotonic() + 2
                while time.monotonic() < end:
                    agent.tick()
                    assert agent.state == "ready"

    asyncio.run(main())


@pytest.mark.parametrize("proves", ["tick", "call", "work"])
def test_a_thread_that_ticks_hides_no_blocked_loop(folder, proves):
    async def main():
        async with aio.Agent("worker", watchdog=1.0) as agent:
            await agent.mark_ready()
            found, over = ready_probe.find_agent("worker"), threading.Event()

            def beside():
                while not over.is_set():
                    if proves == "tick":
                        agent.tick()
                    elif proves == "work":
                        found.progress(lambda: None)()
                    else:
                        with found.working() as call:
                            call.tick()
                            found.tick()
                    time.sleep(0.01)

            thread = threading.Thread(target=beside)
            thread.start()
            try:
                until("it is stalled", lambda: agent.state == "not_ready")
                await until_async("it recovers", lambda: agent.state == "ready")
            finally:
                over.set()
                thread.join()

    asyncio.run(main())


def test_an_agent_that_a_thread_marks_once_its_loop_has_ended_is_stalled(folder):
    async def begin():
        agent = aio.Agent("revived", watchdog=1.0)
        await agent.mark_ready()
        return agent

    agent = asyncio.run(begin())
    ready_probe.find_agent("revived").mark_ready()
    folder.until_says("revived", "not_ready: stalled: no progress for")
    asyncio.run(agent.close())


def test_while_it_is_armed_something_has_to_tick_and_the_loop_s_own_progress_is_not_enough(folder):
    async def main():
        async with aio.Agent("worker", watchdog=1.0) as agent:
            await agent.mark_ready()
            agent.arm()
            await until_async("it is stalled", lambda: agent.state == "not_ready")
            agent.tick()
            assert agent.state == "ready"
            agent.disarm()
            end = time.monotonic() + 2
            while time.monotonic() < end:
                assert agent.state == "ready"
                await asyncio.sleep(0.01)

    asyncio.run(main())


@pytest.mark.parametrize("limit", [10.0, None])
def test_an_agent_whose_loop_has_ended_says_so_and_lives_on_in_the_loop_that_marks_it(folder, limit):
    async def begin():
        agent = aio.Agent("loops", watchdog=limit)
        await agent.mark_ready()
        return agent

    async def again(agent):
        await agent.mark_ready()
        assert folder.says("loops") == "healthy: 1 check passes"

    agent = asyncio.run(begin())
    assert "not_ready: its event loop has ended" in folder.says("loops")
    asyncio.run(again(agent))
    assert "not_ready: its event loop has ended" in folder.says("loops")
    asyncio.run(agent.close())
    assert folder.files("loops") == []


def test_it_is_watched_again_in_the_loop_that_marks_it(folder):
    async def begin():
        return aio.Agent("loops", watchdog=1.0)

    async def again(agent):
        await agent.mark_ready()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert agent.state == "ready"
            await asyncio.sleep(0.01)
        until("it is stalled", lambda: agent.state == "not_ready")
        await until_async("it recovers", lambda: agent.state == "ready")
        await agent.close()

    asyncio.run(again(asyncio.run(begin())))


def test_a_loop_that_ends_after_its_agent_says_nothing(folder):
    async def main():
        agent = aio.Agent("ends")
        await agent.mark_ready()
        agent._agent.close()
        return aio.Agent("ends", watchdog=None)

    agent = asyncio.run(main())
    assert "its event loop has ended" in folder.says("ends")
    asyncio.run(agent.close())


def test_waiting_for_the_store_leaves_the_loop_free_and_can_be_cancelled(folder, redis):
    async def main():
        redis.stop()
        async with aio.Agent("peer", store=redis.url, watchdog=0.3) as agent:
            await agent.mark_ready()
            with pytest.raises(ready_probe.StoreUnavailable, match="within 500ms"):
                await agent.wait_announced(timedelta(seconds=0.5))
            assert agent.state == "ready"
            for timeout in (-1, float("nan"), float("inf"), 1e300, 10**400):
                with pytest.raises(ready_probe.ConfigError, match="timeout of"):
                    await agent.wait_announced(timeout)
            for timeout in ("1", None, True):
                with pytest.raises(TypeError, match="timeout must be a number of seconds"):
                    await agent.wait_announced(timeout)
            waits = asyncio.create_task(agent.wait_announced(3600))
            await asyncio.sleep(0)
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            await asyncio.to_thread(redis.start)
            await agent.wait_announced(20)
            assert agent.announced.ok

    asyncio.run(main())


def test_work_in_flight_at_sigterm_ends_well(folder):
    async def main():
        terminated = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
        async with aio.Agent("flight", install_signal_handlers=True) as agent:
            await agent.mark_ready()

            @agent.progress
            async def work():
                os.kill(os.getpid(), signal.SIGTERM)
                await terminated.wait()
                agent.tick()
                return 42

            assert await work() == 42
            assert "stopping: SIGTERM" in folder.says("flight")
        assert folder.files("flight") == []

    before = signal.getsignal(signal.SIGTERM)
    try:
        asyncio.run(main())
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_loop_whose_progress_can_t_be_written_goes_on_proving_it(folder):
    async def main():
        agent = aio.Agent("loop", watchdog=0.3)
        await agent.mark_ready()
        shutil.rmtree(folder.path)
        folder.path.write_text("a file")
        until("it is stalled", lambda: agent.state == "not_ready")
        await until_async("it recovers", lambda: agent.state == "ready")
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert agent.state == "ready"
            await asyncio.sleep(0.01)
        folder.path.unlink()
        await agent.mark_ready()
        assert folder.says("loop") == "healthy: 1 check passes"
        await agent.close()

    asyncio.run(main())


def test_closing_says_stopping_at_once_and_needs_no_thread_of_the_loop_s(folder):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        goes_on = threading.Event()
        busy = asyncio.create_task(asyncio.to_thread(goes_on.wait))
        async with aio.Agent("busy") as agent:
            await agent.mark_ready()
            closing = asyncio.create_task(agent.close("deploy"))
            await asyncio.sleep(0)
            assert agent.state == "stopping"
            await closing
            assert folder.files("busy") == []
        goes_on.set()
        await busy

    asyncio.run(main())


def test_draining_says_stopping_until_it_is_done(folder):
    async def main():
        agent = ready_probe.aio.Agent("drains")
        await agent.mark_ready()
        async with agent.drain("deploy"):
            agent.tick()
            assert "stopping: deploy" in folder.says("drains")
        assert folder.files("drains") == []

    asyncio.run(main())


def test_a_loop_in_an_exit_hook_can_close_its_agent(run, folder):
    run(
        """
        import asyncio, atexit
        from ready_probe import aio
        async def main():
            async with aio.Agent("late") as agent:
                await agent.mark_ready()
        atexit.register(lambda: asyncio.run(main()))
        """
    )
    assert folder.files("late") == []


def test_reasons_say_what_utf_8_can_t(folder):
    async def main():
        agent = aio.Agent("open", watchdog=0.3)
        with pytest.raises(TypeError, match="reason must be a str, not int"):
            await agent.close(5)
        # It is still open, and its loop proves its progress.
        await agent.mark_ready()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert agent.state == "ready"
            await asyncio.sleep(0.01)
        await agent.close(os.fsdecode(b"x\xff"))
        async with aio.Agent("block"):
            raise ValueError(os.fsdecode(b"x\xff"))

    with pytest.raises(ValueError, match="x\udcff"):
        asyncio.run(main())
    assert folder.files("open") == []
    assert r"stopping: ValueError: x\udcff" in folder.says("block")
