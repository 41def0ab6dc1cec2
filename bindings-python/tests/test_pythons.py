"""The one wheel in each CPython that is found on this machine: its life, from the import to the exit hook.

The heading of pytest's output names them. The other tests run in one of them only.
"""

import subprocess
import sys

import pytest

from conftest import PATIENCE, PYTHONS, ROOT, free_port

SMOKE = """
import multiprocessing, os, pathlib, sys, warnings

import ready_probe
from ready_probe import mark_agent_not_ready, mark_agent_ready, probe


def files(name):
    return list(pathlib.Path(os.environ["READY_DIR"], name).glob("*.json"))


def work(pipe):
    mark_agent_ready("child")
    pipe.send(probe("agent:child").verdict)


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    assert sys.prefix != sys.base_prefix and ready_probe.__file__.startswith(sys.prefix)
    mark_agent_ready("parent", {"python": sys.version})
    assert probe("agent:parent").verdict == "healthy"
    mark_agent_not_ready("parent", "reloading")
    assert probe("agent:parent").reason.endswith("not_ready: reloading")
    with ready_probe.Agent("object", watchdog=10) as agent:
        agent.mark_ready()
        agent.tick()
        assert len(files("object")) == 1

    # multiprocessing's children end without atexit before 3.13.
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        here, there = context.Pipe()
        child = context.Process(target=work, args=(there,))
        child.start()
        assert here.recv() == "healthy"
        child.join()
        assert (child.exitcode, files("child")) == (0, []), method

    if sys.version_info >= (3, 13):
        import _interpreters as interpreters
    else:
        import _xxsubinterpreters as interpreters
    code = [
        "try:",
        "    import ready_probe",
        "except ImportError as e:",
        "    print(e, flush=True)",
    ]
    interpreters.run_string(interpreters.create(), chr(10).join(code))
    assert len(files("parent")) == 1
"""


# These import nothing else: which thread is the first to import what is the matter.
STALLED = """
from time import sleep

from ready_probe import Agent

agent = Agent("stalled", watchdog=0.1)
agent.mark_ready()
while agent.state == "ready":
    sleep(0.01)
sleep(0.2)
Agent("signals", install_signal_handlers=True)
import threading

print(threading.current_thread() is threading.main_thread())
"""
REFUSED = """
from ready_probe import mark_agent_ready

mark_agent_ready("refused", store="redis://127.0.0.1:PORT")
"""
FORKED = (
    REFUSED
    + """
import os
from time import sleep

sleep(PAUSE)
if os.fork() == 0:
    import logging

    logging.getLogger("child").warning("the child logs")
    os._exit(0)
print(os.wait()[1])
"""
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel in a virtualenv of one of the Pythons, made once."""
    made = {}

    def install(version):
        if version not in made:
            (wheel,) = (ROOT / "dist").glob("ready_probe-*.whl")
            venv = tmp_path_factory.mktemp("venv")
            python = made[version] = venv / "bin/python"
            # Without a pip of its own, which takes longest: this one installs for that Python.
            finish(PYTHONS[version], "-m", "venv", "--without-pip", venv)
            pip = ["-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet", "--no-index"]
            finish(sys.executable, *pip, wheel)
        return made[version]

    return install


each_python = pytest.mark.parametrize("version", PYTHONS, ids=lambda version: ".".join(map(str, version)))


@each_python
def test_the_wheel_installs_and_works(folder, tmp_path, installed, version):
    script = tmp_path / "smoke.py"
    script.write_text(SMOKE)
    options = ["-X", "dev", "-W", "error::ResourceWarning"]
    refused = finish(installed(version), *options, script, env=folder.environment())
    assert "subinterpreters" in refused
    # The exit hook has said stopping and removed it.
    for name in ("parent", "child", "object"):
        assert folder.files(name) == []


@each_python
def test_a_process_whose_agent_has_stalled_ends(folder, installed, version):
    run = end(installed(version), STALLED, folder)
    assert (run.returncode, run.stdout) == (0, "True\n"), run.stderr
    assert "agent stalled" in run.stderr
    assert folder.files("stalled") == folder.files("signals") == []


@each_python
def test_short_processes_whose_store_refuses_end(folder, installed, version):
    for _ in range(10):
        run = end(installed(version), REFUSED.replace("PORT", str(free_port())), folder)
        assert run.returncode == 0, run.stderr
        assert folder.files("refused") == []


@each_python
def test_a_child_that_is_forked_right_after_a_mark_logs(folder, installed, version):
    for pause in (0, 0.001, 0.002, 0.004):
        code = FORKED.replace("PORT", str(free_port())).replace("PAUSE", str(pause))
        run = end(installed(version), code, folder)
        assert (run.returncode, run.stdout) == (0, "0\n"), run.stderr
        assert "the child logs" in run.stderr


def end(python, code, folder):
    """Runs a program to its end, which must come."""
    return subprocess.run(
        [python, "-W", "ignore", "-c", code],
        env=folder.environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def finish(*command, env=None):
    """Runs it to its end, which must be a good one without a word of complaint; what it says."""
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=5 * PATIENCE)
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    return run.stdout
