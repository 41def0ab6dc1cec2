"""Several calls of one agent that are under way at once: each has to make progress."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import ready_probe
from conftest import PATIENCE, throughout, until
from ready_probe import Agent, find_agent, mark_agent_ready

# Longer than a busy machine keeps a thread waiting that has something to do.
LIMIT = 1.0


@pytest.fixture
def agent(folder):
    with Agent("worker", watchdog=LIMIT) as agent:
        yield agent


class Workers:
    """Threads under ``agent.working()``, each of which ticks until it is told to hang."""

    def __init__(self, agent, count):
        self._agent = agent
        self._hangs = [threading.Event() for _ in range(count)]
        self._ends = [threading.Event() for _ in range(count)]
        begun = threading.Barrier(count + 1)
        self._threads = [
            threading.Thread(target=self._work, args=(begun, *events), daemon=True)
            for events in zip(self._hangs, self._ends, strict=True)
        ]
        for thread in self._threads:
            thread.start()
        begun.wait(PATIENCE)

    def _work(self, begun, hangs, ends):
        with self._agent.working():
            begun.wait(PATIENCE)
            while not hangs.wait(0.001):
                self._agent.tick()
            ends.wait()

    def hang(self, number):
        self._hangs[number].set()

    def end(self, number):
        self._hangs[number].set()
        self._ends[number].set()
        self._threads[number].join(PATIENCE)


def stays(agent, state, seconds=2 * LIMIT):
    throughout(seconds, lambda: None if agent.state == state else pytest.fail(agent.state))


def test_three_hung_threads_of_four_are_seen_while_the_fourth_goes_on(agent, folder):
    agent.mark_ready()
    workers = Workers(agent, 4)
    stays(agent, "ready")
    for number in range(3):
        workers.hang(number)
    until("it is stalled", lambda: agent.state == "not_ready")
    folder.until_says("worker", " in 3 of 4 calls (limit 1s)")
    stays(agent, "not_ready")
    for number in range(2):
        workers.end(number)
    assert agent.state == "not_ready", "one hangs"
    workers.end(2)
    assert agent.state == "ready"
    assert folder.says("worker") == "healthy: 1 check passes"
    workers.end(3)
    stays(agent, "ready")


def test_a_thread_that_is_in_no_call_ticks_for_all(agent):
    agent.mark_ready()
    goes_on, working = threading.Event(), threading.Event()

    def work():
        with agent.working():
            working.set()
            goes_on.wait(PATIENCE)

    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(work)
        working.wait(PATIENCE)
        def tick():
            agent.tick()
            assert agent.state == "ready"

        throughout(2 * LIMIT, tick)
        until("it is stalled", lambda: agent.state == "not_ready")
        agent.tick()
        assert agent.state == "ready"
        goes_on.set()
        done.result(PATIENCE)


def test_an_outer_call_is_not_stalled_while_an_inner_one_ticks(agent):
    agent.mark_ready()
    ended = threading.Event()

    def tick():
        with agent.working(), agent.working():
            while not ended.wait(0.001):
                agent.tick()

    thread = threading.Thread(target=tick)
    thread.start()
    stays(agent, "ready")
    ended.set()
    thread.join()


def test_each_task_has_its_own_call_and_one_that_it_starts_is_within_it(agent):
    async def main():
        agent.mark_ready()
        hangs = asyncio.Event()

        @agent.progress
        async def hang():
            await hangs.wait()

        @agent.progress
        async def work():
            # In a context that it was given, also in another thread, it is the same call.
            await asyncio.to_thread(agent.tick)
            while not hangs.is_set():
                await asyncio.sleep(0.001)
                agent.tick()

        hung, works = asyncio.create_task(hang()), asyncio.create_task(work())
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while agent.state == "ready":
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.001)
        stalled = asyncio.get_running_loop().time() + 2 * LIMIT
        while asyncio.get_running_loop().time() < stalled:
            assert agent.state == "not_ready", "another task's ticks are not its own"
            await asyncio.sleep(0.001)
        hangs.set()
        await asyncio.gather(hung, works)
        assert agent.state == "ready"

    asyncio.run(main())


def test_a_call_may_be_ticked_from_another_thread_by_its_name(agent):
    agent.mark_ready()
    with agent.working(), agent.working() as call:
        until("it is stalled", lambda: agent.state == "not_ready")
        thread = threading.Thread(target=call.tick)
        thread.start()
        thread.join()
        assert agent.state == "ready"
    call.tick()


def test_a_call_is_entered_once_and_may_be_left_elsewhere(agent):
    agent.mark_ready()
    call = agent.working()
    contextvars.copy_context().run(call.__enter__)
    with pytest.raises(RuntimeError, match="entered before"):
        call.__enter__()
    until("it is stalled", lambda: agent.state == "not_ready")
    call.__exit__(None, None, None)
    assert agent.state == "ready"
    stays(agent, "ready")


def test_it_is_idle_and_not_stalled_once_it_has_worked_or_was_disarmed(folder):
    def worked(agent):
        with agent.working():
            pass

    uses = [worked, Agent.disarm, lambda agent: (agent.arm(), agent.disarm())]
    uses.append(lambda agent: agent.progress(print))
    agents = [Agent(f"worker-{i}", watchdog=LIMIT) for i in range(len(uses))]
    for agent, use in zip(agents, uses, strict=True):
        agent.mark_ready()
        use(agent)
    for agent in agents:
        stays(agent, "ready")
        agent.arm()
        until("it is stalled", lambda agent=agent: agent.state == "not_ready")
        agent.disarm()
        assert agent.state == "ready"
        agent.close()


def test_one_that_only_ticks_is_watched_from_mark_ready_on(agent):
    stays(agent, "starting")
    agent.mark_ready()
    until("it is stalled", lambda: agent.state == "not_ready")


def test_marking_a_ready_agent_again_is_no_progress_of_its_work(agent, folder):
    agent.mark_ready()
    workers = Workers(agent, 1)
    workers.hang(0)

    def marked():
        agent.mark_ready({"n": 1})
        return agent.state == "not_ready"

    until("it is stalled, however often it is marked", marked)
    agent.mark_ready({"n": 2})
    assert agent.state == "not_ready"
    assert folder.record("worker")["details"] == {"n": 2}
    workers.end(0)
    assert agent.state == "ready"


def test_work_that_outlives_its_agent_ends_well(folder):
    agent = Agent("worker", watchdog=LIMIT)
    agent.mark_ready()
    with agent.working():
        with agent.drain("deploy"), agent.working():
            agent.tick()
        assert folder.files("worker") == []
    with pytest.raises(ready_probe.ClosedError), agent.working():
        pytest.fail("it was closed")


def test_an_agent_is_found_by_its_name(folder):
    assert find_agent("worker") is None
    with Agent("worker", watchdog=LIMIT) as agent:
        agent.mark_ready({"n": 1})
        found = find_agent("worker")
        assert (found.name, found.state) == ("worker", "ready")
        with agent.working():
            until("it is stalled", lambda: found.state == "not_ready")
            # It knows the same calls.
            found.tick()
            assert agent.state == "ready"
    assert find_agent("worker") is None
    with pytest.raises(ready_probe.ClosedError):
        found.mark_ready()


def test_what_a_function_has_marked_is_found_stays_when_it_is_forgotten_and_ends_when_it_is_closed(folder):
    mark_agent_ready("function")
    assert find_agent("function").state == "ready"
    find_agent("function").mark_not_ready("reloading")
    assert "not_ready: reloading" in folder.says("function")
    find_agent("function").close("deploy")
    assert folder.files("function") == []
    assert find_agent("function") is None
    mark_agent_ready("function")
    assert folder.says("function") == "healthy: 1 check passes"
    find_agent("function").close()


def test_a_name_that_is_registered_twice_says_what_to_do(agent):
    with pytest.raises(ready_probe.ConfigError, match="close that one first, take another name, or get it"):
        Agent("worker")


def test_an_exception_is_a_reason(folder):
    agent = Agent("worker")
    agent.mark_not_ready(ValueError("no such model"))
    assert "not_ready: ValueError: no such model" in folder.says("worker")
    ready_probe.mark_agent_not_ready("worker", KeyError("model"))
    assert "not_ready: KeyError: 'model'" in folder.says("worker")
    with agent.drain(OSError(2, "No such file")):
        assert "stopping: FileNotFoundError: [Errno 2] No such file" in folder.says("worker")


@pytest.mark.parametrize("ttl", [60000, 3600.5])
def test_a_ttl_in_milliseconds_is_told_that_it_is_seconds(folder, ttl):
    for make in (Agent, mark_agent_ready):
        with pytest.raises(ready_probe.ConfigError, match="a number is seconds and not milliseconds"):
            make("worker", ttl=ttl)
    assert folder.files("worker") == []
