"""The one wheel in each CPython that is found on this machine: its life, from the import to the exit hook.

The heading of pytest's output names them. The other tests run in one of them only.
"""

import subprocess
import sys

import pytest

from conftest import PATIENCE, PYTHONS, ROOT

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


@pytest.mark.parametrize("version", PYTHONS, ids=lambda version: ".".join(map(str, version)))
def test_the_wheel_installs_and_works(folder, tmp_path, version):
    (wheel,) = (ROOT / "dist").glob("ready_probe-*.whl")
    python = tmp_path / "venv/bin/python"
    # Without a pip of its own, which takes longest: this one installs for that Python.
    finish(PYTHONS[version], "-m", "venv", "--without-pip", tmp_path / "venv")
    pip = ["-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet", "--no-index"]
    finish(sys.executable, *pip, wheel)
    script = tmp_path / "smoke.py"
    script.write_text(SMOKE)
    refused = finish(python, "-X", "dev", "-W", "error::ResourceWarning", script, env=folder.environment())
    assert "subinterpreters" in refused
    # The exit hook has said stopping and removed it.
    for name in ("parent", "child", "object"):
        assert folder.files(name) == []


def finish(*command, env=None):
    """Runs it to its end, which must be a good one without a word of complaint; what it says."""
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=5 * PATIENCE)
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    return run.stdout
