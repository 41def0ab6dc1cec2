"""Announcing to real servers: others see it, and whether the store is there never matters here."""

import time

import pytest

import ready_probe
from conftest import COMPUTE, throughout, until
from ready_probe import Agent, probe


@pytest.fixture(params=["redis", "nats"])
def store(request):
    return request.getfixturevalue(request.param)


def test_others_see_what_was_announced_and_the_end_too(folder, store, monkeypatch):
    monkeypatch.setenv("READY_STORE", store.url)
    agent = Agent("peer", namespace="fleet")
    assert agent.announced is None or agent.announced.ok
    agent.mark_ready({"port": 1})
    agent.wait_announced(20)
    assert agent.announced.ok and agent.announced.reason is None
    assert agent.announced == agent.announced
    assert repr(agent.announced) == f'Announced(store="{store.url}", ok=True, reason=None)'
    monkeypatch.setenv("READY_NAMESPACE", "fleet")
    assert probe("peer:peer")
    agent.close()
    assert "no signal in the store" in probe("peer:peer").reason


def test_others_see_it_beat_while_python_computes_with_the_gil_held(start, store, monkeypatch):
    program = start(
        f"""
        import ready_probe
        agent = ready_probe.Agent("computes", ttl=4, heartbeat=0.2, store={store.url!r})
        agent.mark_ready()
        agent.wait_announced(20)
        print("ready")
        {COMPUTE}
        """
    )
    program.reads()
    monkeypatch.setenv("READY_STORE", store.url)

    def look():
        verdict = probe("peer:computes")
        assert verdict.verdict == "healthy", verdict

    # For longer than what was announced before it computes would live.
    throughout(5, look)


def test_the_function_takes_a_store(folder, store, run):
    run(
        f"""
        import time
        from ready_probe import mark_agent_ready, probe
        mark_agent_ready("function", store={store.url!r})
        deadline = time.monotonic() + 20
        while not probe("peer:function"):
            assert time.monotonic() < deadline
        """,
        READY_STORE=store.url,
    )
    assert not probe("agent:function")


def test_a_store_that_is_away_raises_only_where_it_is_asked_for(folder, redis):
    redis.stop()
    agent = Agent("away", store=redis.url)
    begin = time.monotonic()
    agent.mark_ready()
    agent.mark_not_ready("busy")
    agent.mark_ready()
    assert time.monotonic() - begin < 5
    assert probe("agent:away")
    with pytest.raises(ready_probe.StoreUnavailable, match="away was not announced to .* within 100ms"):
        agent.wait_announced(0.1)
    until("the outage is known", lambda: agent.announced is not None and not agent.announced.ok)
    redis.start()
    agent.wait_announced(20)
    assert agent.announced.ok
    agent.close()


def test_without_a_store_there_is_nothing_to_wait_for(folder):
    with Agent("nowhere") as agent:
        assert agent.announced is None
        with pytest.raises(ready_probe.ConfigError, match="READY_STORE is not set"):
            agent.wait_announced(1)


def test_waiting_does_not_hold_the_gil_and_ctrl_c_ends_it(start, redis, folder):
    redis.stop()
    program = start(
        f"""
        import _thread, logging, signal, threading, time
        logging.getLogger("ready_probe").setLevel("ERROR")
        # A shell's background job ignores it, and so do its children.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from ready_probe import Agent
        agent = Agent("waits", store={redis.url!r})
        def interrupt():
            # Runs only if the waiting thread has given up the GIL.
            for _ in range(100):
                time.sleep(0)
            _thread.interrupt_main()
        threading.Thread(target=interrupt).start()
        try:
            agent.wait_announced(3600)
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    status, out, err = program.end()
    assert (status, out, err) == (0, "interrupted\n", "")


def test_the_process_ends_while_a_thread_waits_for_a_store_that_is_away(run, redis):
    redis.stop()
    run(
        f"""
        import logging, threading
        logging.getLogger("ready_probe").setLevel("ERROR")
        from ready_probe import Agent
        agent = Agent("waits", store={redis.url!r})
        threading.Thread(target=agent.wait_announced, args=(3600,), daemon=True).start()
        """
    )


@pytest.mark.parametrize(
    "store",
    [
        "hUnTeR2",
        "127.0.0.1:1,password=hUnTeR2,ssl=False",
        "redis://127.0.0.1:1,password=hUnTeR2,ssl=False",
        "redis://default:12?hUnTeR2@127.0.0.1:1",
        "nats://hUnTeR2=x",
        "redis://hUnTeR2 x",
    ],
)
def test_what_may_be_a_password_in_the_wrong_place_is_refused_and_not_shown(folder, store):
    with pytest.raises(ready_probe.ConfigError) as refused:
        Agent("misplaced", store=store)
    assert "hUnTeR2" not in str(refused.value)
