"""The life of an agent in one process."""

import asyncio
import os
import shutil
import sys
import threading
from datetime import timedelta
from functools import partial

import pytest

import ready_probe
from conftest import COMPUTE, throughout, until
from ready_probe import Agent, find_agent, mark_agent_not_ready, mark_agent_ready

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


def test_it_says_starting_then_ready_then_not_ready_then_nothing(folder):
    agent = Agent("life")
    assert (agent.name, agent.state) == ("life", "starting")
    assert "starting" in folder.says("life")
    agent.mark_ready({"port": 5555})
    assert agent.state == "ready"
    assert folder.says("life") == "healthy: 1 check passes"
    assert folder.record("life")["details"] == {"port": 5555}
    agent.mark_not_ready("reloading the model")
    assert "not_ready: reloading the model" in folder.says("life")
    agent.close("deploy")
    agent.close("again")
    assert agent.state == "stopping"
    assert folder.files("life") == []


def test_its_records_say_that_the_python_package_writes_them(run, folder):
    sdk = f"python/{ready_probe.__version__}"
    with Agent("object"):
        assert folder.record("object")["sdk"] == sdk
    out = run(
        """
        import json, os, pathlib, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from ready_probe import mark_agent_not_ready
        def say(name):
            mark_agent_not_ready(name, "loading")
            (file,) = pathlib.Path(os.environ["READY_DIR"], name).glob("*.json")
            print(json.loads(file.read_text())["sdk"])
        say("parent")
        if os.fork() == 0:
            say("child")
            sys.exit()
        os.wait()
        """
    )
    assert out.splitlines() == [sdk, sdk]


def test_the_two_functions_are_all_that_the_common_case_needs(run, folder):
    run(
        """
        import ready_probe
        from ready_probe import mark_agent_ready, mark_agent_not_ready
        mark_agent_ready("common", {"port": 5555})
        mark_agent_ready("common", {"port": 5556})
        assert ready_probe.probe("agent:common")
        mark_agent_not_ready("common", "graceful shutdown")
        mark_agent_not_ready("common", "graceful shutdown")
        verdict = ready_probe.probe("agent:common")
        assert not verdict
        assert verdict.reason.endswith("not_ready: graceful shutdown"), verdict
        """
    )
    assert folder.files("common") == []


def test_an_agent_that_nobody_refers_to_lives_until_the_end_of_the_process(run, folder):
    run(
        """
        import gc, ready_probe
        ready_probe.Agent("forgotten").mark_ready()
        gc.collect()
        assert ready_probe.probe("agent:forgotten")
        """
    )
    assert folder.files("forgotten") == []


def test_durations_are_seconds_or_timedeltas(folder):
    with Agent("seconds", ttl=30, heartbeat=1.5):
        record = folder.record("seconds")
        assert (record["ttl_ms"], record["beat_ms"]) == (30_000, 1_500)
    with Agent("delta", ttl=timedelta(minutes=1), heartbeat=timedelta(seconds=2)):
        record = folder.record("delta")
        assert (record["ttl_ms"], record["beat_ms"]) == (60_000, 2_000)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "../x"}, ready_probe.InvalidName, "letter or digit"),
        ({"name": "x", "ttl": 0.5}, ready_probe.ConfigError, "TTL"),
        ({"name": "x", "ttl": -1}, ready_probe.ConfigError, "ttl of -1.0 seconds can't be used: it must be a number from 0 to 1000000000"),
        ({"name": "x", "ttl": float("nan")}, ready_probe.ConfigError, "ttl of NaN seconds"),
        ({"name": "x", "ttl": float("inf")}, ready_probe.ConfigError, "ttl of inf seconds"),
        ({"name": "x", "ttl": 1e300}, ready_probe.ConfigError, "ttl of 1e300 seconds"),
        ({"name": "x", "ttl": 10**400}, ready_probe.ConfigError, "ttl of inf seconds"),
        ({"name": "x", "ttl": True}, TypeError, "ttl must be a number of seconds or a timedelta, not bool"),
        ({"name": "x", "ttl": None}, TypeError, "ttl must be a number of seconds or a timedelta, not NoneType"),
        ({"name": 5}, TypeError, "name must be a str, not int"),
        ({"name": "x", "store": 5}, TypeError, "store must be a str, not int"),
        ({"name": "x", "namespace": b"x"}, TypeError, "namespace must be a str, not bytes"),
        ({"name": "x", "ttl": "1m"}, TypeError, "ttl must be a number of seconds or a timedelta, not str"),
        ({"name": "x", "heartbeat": 50}, ready_probe.ConfigError, "half the TTL"),
        ({"name": "x", "watchdog": 0.01}, ready_probe.ConfigError, "watchdog"),
        ({"name": "x", "store": "http://x"}, ready_probe.ConfigError, "redis://"),
        ({"name": "x", "store": "redis://x", "namespace": "a b"}, ready_probe.InvalidName, "a b"),
    ],
)
def test_what_can_t_be_used_is_an_error_that_says_what(folder, arguments, error, message):
    with pytest.raises(error, match=message):
        Agent(**arguments)
    assert not folder.path.exists() or folder.files("x") == []


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ([1], "details must be a dict"),
        ({"a": {"b": [object()]}}, r'details\["a"\]\["b"\]\[0\] must be None, a bool'),
        ({1: 2}, "a key of details must be a str"),
        ({"x": float("inf")}, "a finite number"),
        ({"x": 2**64}, "64 bits"),
        ({"x": "y" * 5000}, "4096|4 KiB|too large|larger"),
    ],
)
def test_details_that_can_t_be_published_leave_the_last_word(folder, details, message):
    with Agent("details") as agent:
        agent.mark_ready({"port": 1})
        with pytest.raises(ready_probe.ConfigError, match=message):
            agent.mark_ready(details)
        assert folder.record("details")["details"] == {"port": 1}


def test_details_that_contain_themselves_are_refused(folder):
    endless = {}
    endless["self"] = endless
    with Agent("endless") as agent, pytest.raises(ready_probe.ConfigError, match="nested deeper"):
        agent.mark_ready(endless)


def test_details_are_published_as_json_writes_them(folder):
    details = {
        "none": None, "yes": True, "int": -(2**63), "large": 2**64 - 1, "float": 1.5,
        "text": "größer\n", "list": [1, (2, 3)], "dict": {"a": {}},
    }  # fmt: skip
    with Agent("details") as agent:
        agent.mark_ready(details)
        want = {**details, "list": [1, [2, 3]]}
        assert folder.record("details")["details"] == want


def test_a_name_is_published_once_and_is_free_after_its_end(folder):
    with Agent("once"):
        with pytest.raises(ready_probe.ConfigError, match="publishes agent once already"):
            Agent("once")
    Agent("once").close()


def test_a_folder_that_can_t_be_written_is_an_error(folder):
    folder.path.write_text("a file")
    with pytest.raises(ready_probe.ReadyProbeError, match="signals"):
        mark_agent_ready("nowhere")


def test_after_its_end_an_agent_can_only_be_closed(folder):
    agent = Agent("closed")
    agent.close()
    for call in (agent.mark_ready, agent.tick, agent.wait_announced, lambda: agent.mark_not_ready("x")):
        with pytest.raises(ready_probe.ClosedError, match="agent closed was closed"):
            call()
    assert repr(agent) == "<ready_probe.Agent closed: closed>"


def test_a_block_that_ends_well_leaves_nothing(folder):
    with Agent("block") as agent:
        agent.mark_ready()
    assert folder.files("block") == []


def test_an_exception_becomes_the_reason_and_stays_until_the_agent_is_made_anew(folder):
    with pytest.raises(ValueError), Agent("block") as agent:
        agent.mark_ready()
        raise ValueError("no such model")
    assert "stopping: ValueError: no such model" in folder.says("block")
    with Agent("block") as agent:
        agent.mark_ready()
        assert folder.says("block") == "healthy: 1 check passes"


def test_of_a_group_of_exceptions_the_first_becomes_the_reason(folder):
    inner = ExceptionGroup("inner", [ValueError("no such model"), OSError()])
    with pytest.raises(ExceptionGroup), Agent("block"):
        raise ExceptionGroup("outer", [inner])
    assert "stopping: ValueError: no such model" in folder.says("block")


@pytest.mark.parametrize("ends", [SystemExit, KeyboardInterrupt])
def test_an_end_of_the_program_is_no_failure(folder, ends):
    with pytest.raises(ends), Agent("block"):
        raise ends
    assert folder.files("block") == []


def test_draining_says_stopping_until_it_is_done(folder):
    agent = Agent("drains")
    agent.mark_ready()
    with agent.drain("deploy"):
        assert agent.state == "stopping"
        assert "stopping: deploy" in folder.says("drains")
    assert folder.files("drains") == []


def test_work_in_flight_ends_well_while_it_drains(folder):
    agent = Agent("drains", watchdog=10)
    agent.mark_ready()

    @agent.progress
    def work(part):
        agent.tick()
        return part

    with agent.drain("deploy"):
        assert work(42) == 42
        agent.tick()
        with pytest.raises(ready_probe.ClosedError, match=r"is stopping \(deploy\)"):
            agent.mark_not_ready("busy")
    with pytest.raises(ready_probe.ClosedError, match="was closed"):
        agent.tick()


def test_work_keeps_its_result_though_the_end_of_its_stall_can_t_be_written(folder):
    agent = Agent("worker", watchdog=0.2)
    agent.mark_ready()

    @agent.progress
    def work():
        shutil.rmtree(folder.path)
        folder.path.write_text("a file")
        until("it is stalled", lambda: agent.state == "not_ready")
        return 42

    assert work() == 42
    with pytest.raises(ready_probe.ReadyProbeError):
        agent.close()


# What os.listdir says of a file whose name is no UTF-8.
SURROGATE = os.fsdecode(b"x\xff")


def test_reasons_say_what_utf_8_can_t(folder):
    with pytest.raises(OSError) as raised, Agent("block") as agent:
        agent.mark_not_ready(SURROGATE)
        assert r"not_ready: x\udcff" in folder.says("block")
        open(f"/nowhere/{SURROGATE}")
    assert raised.value.filename == f"/nowhere/{SURROGATE}"
    assert "stopping: FileNotFoundError" in folder.says("block")
    mark_agent_not_ready("function", SURROGATE)
    assert r"not_ready: x\udcff" in folder.says("function")
    # Tests of one process share their agents: others use this name, in folders of their own.
    find_agent("function").close()


def test_names_and_details_that_utf_8_can_t_say_are_refused(folder):
    for call in (Agent, mark_agent_ready, lambda name: mark_agent_not_ready(name, "x")):
        with pytest.raises(ready_probe.InvalidName):
            call(SURROGATE)
    with pytest.raises(ready_probe.ConfigError, match="store can't be used"):
        Agent("x", store=f"redis://:{SURROGATE}@redis")
    with Agent("details") as agent:
        for details in ({"file": SURROGATE}, {SURROGATE: 1}, {"files": [{"a": SURROGATE}]}):
            with pytest.raises(ready_probe.ConfigError, match="lone surrogate"):
                agent.mark_ready(details)


def test_a_reason_that_is_none_closes_nothing(folder):
    agent = Agent("open")
    with pytest.raises(TypeError, match="reason must be a str, not int"):
        agent.close(5)
    assert "starting" in folder.says("open")
    agent.close()
    assert folder.files("open") == []


def test_a_signal_that_can_t_be_written_does_not_hide_why_a_block_ends(folder):
    for ends in (SystemExit, ValueError):
        folder.path.unlink(missing_ok=True)
        with pytest.raises(ends), Agent("block"):
            shutil.rmtree(folder.path)
            folder.path.write_text("a file")
            raise ends


def test_any_thread_may_mark(folder):
    with Agent("threads") as agent:
        barrier = threading.Barrier(8)

        def mark(i):
            barrier.wait()
            for _ in range(50):
                agent.mark_ready({"thread": i})
                agent.mark_not_ready("busy")
                agent.tick()
            agent.mark_ready({"thread": i})

        threads = [threading.Thread(target=mark, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert folder.says("threads") == "healthy: 1 check passes"
        assert folder.record("threads")["details"]["thread"] in range(8)


def test_not_ready_before_ready_registers_the_agent(run, folder):
    run(
        """
        from ready_probe import mark_agent_not_ready, probe
        mark_agent_not_ready("loads", "loading")
        assert probe("agent:loads").reason.endswith("not_ready: loading")
        """
    )
    with pytest.raises(ready_probe.InvalidName):
        mark_agent_not_ready("/", "x")


def test_one_that_is_marked_stopping_keeps_its_signal_until_it_is_closed(folder):
    agent = ready_probe.Agent("hooked")
    agent.mark_ready()
    agent.mark_stopping(TimeoutError("deploy"))
    assert "stopping: TimeoutError: deploy" in folder.says("hooked")
    with pytest.raises(ready_probe.ClosedError):
        agent.mark_ready()
    agent.close()
    assert folder.files("hooked") == []
    with pytest.raises(ready_probe.ClosedError):
        agent.mark_stopping("again")
