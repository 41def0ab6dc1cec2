"""A program that PyInstaller has frozen, in a folder of its own."""

import subprocess
import sys

import pytest

from conftest import PATIENCE, PROBE

# asyncio's agents by their attribute, which nothing in the code names as a module.
APP = """
import asyncio
import sys

import ready_probe


async def main():
    async with ready_probe.aio.Agent("frozen", watchdog=5) as agent:
        await agent.mark_ready()
        print(ready_probe.probe("agent:frozen").reason, flush=True)
        await asyncio.to_thread(sys.stdin.readline)


asyncio.run(main())
with ready_probe.Agent("plain", install_signal_handlers=True) as agent:
    agent.mark_ready()
    print(ready_probe.probe("agent:plain").reason)
"""


def freeze(place):
    """Freezes the program; returns the folder that it lies in."""
    (place / "app.py").write_text(APP)
    built = subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--onedir", "--log-level=WARN", "app.py"],
        cwd=place,
        env={"PATH": "/usr/bin:/bin", "HOME": str(place)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return place / "dist/app"


def test_a_frozen_program_has_all_agents_and_its_own_probe(folder, tmp_path):
    frozen = freeze(tmp_path)
    probe = frozen / "_internal/ready-probe"
    assert probe.read_bytes() == PROBE.read_bytes()

    # Nothing of the Python that froze it is in the way.
    environment = {"PATH": "/nonexistent", "READY_DIR": str(folder.path)}
    program = subprocess.Popen(
        [frozen / "app"],
        cwd="/",
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if (line := program.stdout.readline()) != "1 check passes\n":
            program.kill()
            pytest.fail(f"it prints {line!r}, then {program.communicate()}")
        # The container's health check, as docs/python.md has it.
        check = subprocess.run([probe, "agent:frozen"], env=environment, capture_output=True, text=True)
        assert (check.returncode, check.stdout.splitlines()[0]) == (0, "healthy: 1 check passes")
        out, err = program.communicate("\n", timeout=PATIENCE)
    finally:
        program.kill()
        program.communicate()
    assert (program.returncode, out, err) == (0, "1 check passes\n", "")

    # Somebody has left it out: the error says where it is missed.
    probe.unlink()
    run = subprocess.run(
        [frozen / "app"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert f"ReadyProbeError: there is no ready-probe in {frozen / '_internal'}, nor in PATH" in run.stderr
