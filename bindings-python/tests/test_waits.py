"""What takes long while a store is away: nothing that only marks, and whatever waits leaves the GIL to
others meanwhile."""

import pytest

from conftest import free_port

AGENT = """
    import logging, statistics, threading, time
    from itertools import pairwise
    from time import monotonic, perf_counter
    logging.getLogger("ready_probe").setLevel("ERROR")
    """

# The other thread wants the GIL every millisecond or so. The longest time without it is what counts,
# from the beginning of the call to its end.
WATCH = """
    turns = []
    def take_turns():
        while True:
            turns.append(monotonic())
            time.sleep(0.001)
    threading.Thread(target=take_turns, daemon=True).start()
    while not turns:
        time.sleep(0.001)
    def say(begin):
        end = monotonic()
        inside = [turn for turn in list(turns) if begin < turn < end]
        print(end - begin, max(b - a for a, b in pairwise([begin, *inside, end])), flush=True)
    """


@pytest.fixture(params=["refuses", "hangs at once", "hangs later"])
def away(request):
    """A Redis that is away, or what makes it so once an agent is connected to it."""
    if request.param == "refuses":
        return f"redis://127.0.0.1:{free_port()}", None
    redis = request.getfixturevalue("redis")
    if request.param == "hangs at once":
        redis.pause()
        return redis.url, None
    return redis.url, redis.pause


def test_marking_takes_less_than_a_millisecond_whatever_becomes_of_the_store(start, away, memory):
    url, go_away = away
    program = start(
        AGENT
        + """
    from ready_probe import Agent, mark_agent_not_ready, mark_agent_ready
    agent = Agent("object")
    mark_agent_ready("function")
    if input() == "connects":
        agent.mark_ready()
        agent.wait_announced(20)
    print("ready", flush=True)
    input()
    calls = [
        lambda i: mark_agent_ready("function", {"i": i}),
        lambda i: mark_agent_not_ready("function", "busy"),
        lambda i: agent.mark_ready({"i": i}),
        lambda i: agent.mark_not_ready("busy"),
    ]
    for call in calls:
        took = []
        for i in range(300):
            begin = perf_counter()
            call(i)
            took.append(perf_counter() - begin)
        print(statistics.median(took), flush=True)
    """,
        READY_STORE=url,
    )
    program.tell("connects" if go_away else "")
    assert program.reads() == "ready"
    if go_away:
        go_away()
    program.tell()
    for _ in range(4):
        assert float(program.reads()) < 0.001
    assert program.end() == (0, "", "")


WAITS = {
    "wait_announced": """
    try:
        agent.mark_not_ready("busy")
        agent.wait_announced(1)
    except ready_probe.StoreUnavailable:
        pass
    """,
    "close": "agent.close()",
    "drain": """
    with agent.drain("deploy"):
        pass
    """,
    "block": """
    with agent:
        pass
    """,
    "nobody closes it": """
    # Which only the private class lets happen.
    dropped.clear()
    """,
    "probe": """
    ready_probe.probe(url, timeout=1)
    """,
}


@pytest.mark.parametrize("call", WAITS)
def test_a_call_that_waits_for_a_store_leaves_the_gil_to_others(start, redis, call):
    code = (
        AGENT
        + WATCH
        + f"""
    import ready_probe
    url = {redis.url!r}
    agent = ready_probe.Agent("waits", store=url)
    agent.wait_announced(20)
    dropped = [ready_probe._native.Agent("dropped", 60, None, None, url, None)]
    dropped[0].wait_announced(20)
    print("ready", flush=True)
    input()
    begin = monotonic()
    {WAITS[call].strip()}
    say(begin)
    """
    )
    held_less_than_half(start, code, redis)


def test_the_end_of_a_process_that_waits_for_a_store_leaves_the_gil_to_others(start, redis):
    # What was registered before is run after the package's own exit hook.
    code = (
        AGENT
        + WATCH
        + f"""
    import atexit
    atexit.register(lambda: say(begin))
    import ready_probe
    ready_probe.Agent("waits", store={redis.url!r}).wait_announced(20)
    print("ready", flush=True)
    input()
    begin = monotonic()
    """
    )
    held_less_than_half(start, code, redis)


def test_closing_an_agent_of_asyncio_leaves_the_loop_to_others(start, redis):
    code = (
        AGENT
        + f"""
    import asyncio
    from ready_probe import aio
    async def main():
        agent = aio.Agent("waits", store={redis.url!r})
        await agent.wait_announced(20)
        print("ready", flush=True)
        input()
        turns = [monotonic()]
        closing = asyncio.create_task(agent.close())
        while not closing.done():
            await asyncio.sleep(0.001)
            turns.append(monotonic())
        print(turns[-1] - turns[0], max(b - a for a, b in pairwise(turns)), flush=True)
    asyncio.run(main())
    """
    )
    held_less_than_half(start, code, redis)


def held_less_than_half(start, code, redis):
    """It waits, since Redis hangs, and others have their turns meanwhile. A machine may stand still for half of
    the call, but not each time."""
    for _ in range(5):
        program = start(code)
        assert program.reads() == "ready"
        redis.pause()
        program.tell()
        took, longest = map(float, program.reads().split())
        assert took > 0.5, took
        assert program.end() == (0, "", "")
        if longest < took / 2:
            return
        redis.stop()
        redis.start()
    raise AssertionError((longest, took))
