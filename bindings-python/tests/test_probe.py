"""The probe, asked from Python."""

import subprocess
import sys
from datetime import timedelta

import pytest

import ready_probe
from conftest import free_port
from ready_probe import Agent, probe


def test_a_verdict_says_what_was_asked_and_what_was_answered(folder):
    with Agent("translator") as agent:
        agent.mark_ready()
        port = free_port()
        verdict = probe(["agent:translator", f"tcp://127.0.0.1:{port}#optional&name=port"])
        assert verdict
        assert verdict.verdict == "degraded"
        assert 0 < verdict.elapsed < 5
        own, port_check = verdict.checks
        assert (own.target, own.outcome, own.scope) == ("agent:translator", "pass", "own")
        assert (own.name, own.optional) == (None, False)
        assert port_check.outcome in ("fail", "unknown")
        assert port_check.optional
        agent.mark_not_ready("reloading")
        verdict = probe("agent:translator")
        assert not verdict
        assert repr(verdict) == (
            "<ready_probe.Verdict unhealthy: agent translator: not_ready: reloading>"
        )


def test_without_targets_it_asks_what_the_container_s_health_check_asks(folder):
    verdict = probe()
    assert (verdict.verdict, verdict.reason) == ("starting", "no agent has published a signal")
    with Agent("one") as agent:
        agent.mark_ready()
        verdict = probe(timeout=timedelta(seconds=3))
        assert verdict.verdict == "healthy"
        assert verdict.reason.endswith("1 agent discovered; READY_AGENT not set")
        assert [check.target for check in verdict.checks] == ["agents", "agent:one"]


@pytest.mark.parametrize("target", ["nonsense://x", "--version", "", "agent:a\0b", "\ud800"])
def test_a_target_that_can_t_be_used_is_an_error(folder, target):
    with pytest.raises(ready_probe.ConfigError):
        probe(target)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": 5}, "targets must be a str or several of them, not int"),
        ({"targets": None}, "targets must be a str or several of them, not NoneType"),
        ({"targets": ["agent:x", 5]}, "a target must be a str, not int"),
        ({"targets": b"agent:x"}, "a target must be a str, not int"),
        ({"timeout": "1s"}, "timeout must be a number of seconds or a timedelta, not str"),
        ({"timeout": True}, "timeout must be a number of seconds or a timedelta, not bool"),
    ],
)
def test_an_argument_of_another_type_is_an_error_that_names_it(folder, arguments, message):
    with pytest.raises(TypeError, match=message):
        probe(**arguments)


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), -1, 0, 1e300, 10**400])
def test_a_timeout_that_can_t_be_used_is_an_error(folder, timeout):
    with pytest.raises(ready_probe.ConfigError, match="timeout"):
        probe(timeout=timeout)


def test_python_dash_m_is_the_executable_itself(folder):
    def run(*arguments, **more):
        command = [sys.executable, "-m", "ready_probe", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=folder.environment(**more))

    with Agent("translator") as agent:
        agent.mark_ready()
        healthy = run("agent:translator")
        assert (healthy.returncode, healthy.stderr) == (0, "")
        assert healthy.stdout.startswith("healthy: 1 check passes")
    assert run("agent:translator").returncode == 1
    unusable = run("--no-such-option")
    assert unusable.returncode == 64
    assert "--no-such-option" in unusable.stderr
