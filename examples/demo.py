#!/usr/bin/env python3
"""Shows what ready-probe sees of one agent, starting, healthy, stalled, healthy, killed; and how ready-keeper brings it back.

usage: python3 examples/demo.py PROBE KEEPER AGENT
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE_S = 20


def main() -> int:
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 64
    probe, keeper, agent = (os.path.abspath(program) for program in sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="ready-probe-demo-") as folder, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.close()
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "READY_DIR": f"{folder}/signals",
            "READY_AGENT": "translator",
            "AGENT_NAME": "translator",
            "AGENT_LOAD": "3s",
            "AGENT_WATCHDOG": "1s",
            "AGENT_PORT": str(port),
        }
        show(probe, agent, environment, port)
        show_keeper(probe, keeper, agent, environment, Path(folder))
    print("\nIn a container, Docker does the asking: HEALTHCHECK CMD [\"/ready-probe\"]")
    return 0


def show(probe: str, agent: str, environment: dict[str, str], port: int) -> None:
    print("The agent 'translator' starts. Loading its model takes 3 s; it promises progress every second.\n")
    process = subprocess.Popen([agent], env=environment, stdout=subprocess.DEVNULL)
    try:
        watch(probe, environment, "starting", "it loads", "translator: starting")
        watch(probe, environment, "healthy", "it has loaded, and says so")
        ask(port, "hang 4s")
        watch(probe, environment, "unhealthy", "it hangs: the process lives, beats go on, work does not", "stalled")
        watch(probe, environment, "healthy", "it works again")
        process.send_signal(signal.SIGKILL)
        process.wait()
        watch(probe, environment, "unhealthy", "kill -9", "is gone")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def show_keeper(probe: str, keeper: str, agent: str, environment: dict[str, str], folder: Path) -> None:
    """The agent that was killed, and somebody who knows how it is started."""
    print("\nready-keeper looks after one service: the agent, with the command that starts it. The log of ready-keeper:")
    services = folder / "services.toml"
    # A text in JSON is one in TOML.
    command = json.dumps(f"{shlex.quote(agent)} & echo $! > {shlex.quote(f'{folder}/pid')}")
    services.write_text(
        f'[[service]]\nname = "translator"\ncheck = ["agent:translator"]\nrestart = {command}\nstartup = "0s"\n'
    )
    services.chmod(0o600)
    log = (folder / "log").open("w")
    options = ["--config", services, "--state", folder / "state", "--manual-stop", folder / "stopped"]
    process = subprocess.Popen([keeper, "run", *options], env=environment, stdout=log, stderr=log)
    try:
        for phrase in ("Health check failed", "Executing restart command", "Successfully recovered"):
            say(folder / "log", phrase)
        watch(probe, environment, "healthy", "it is back")
    finally:
        process.terminate()
        process.wait()
        # The keeper ends, and what it has started goes on.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((folder / "pid").read_text()), signal.SIGKILL)


def say(log: Path, phrase: str) -> None:
    """Waits until the log holds a line with the phrase, and prints it without its time."""
    until = time.monotonic() + PATIENCE_S
    while True:
        lines = [line for line in log.read_text().splitlines() if phrase in line]
        if lines:
            print("  " + lines[0].partition(" ")[2], flush=True)
            return
        if time.monotonic() > until:
            sys.exit(f"demo: {phrase!r} is missing in ready-keeper's log:\n{log.read_text()}")
        time.sleep(0.05)


def watch(probe: str, environment: dict[str, str], verdict: str, why: str, also: str = "") -> None:
    """Runs the probe until its verdict is the one that is expected, and prints that line."""
    until = time.monotonic() + PATIENCE_S
    while True:
        run = subprocess.run([probe], env=environment, capture_output=True, text=True, check=False)
        line = (run.stdout or run.stderr).partition("\n")[0]
        if line.startswith(verdict + ":") and also in line:
            print(f"  {line:<64} exit {run.returncode}   ({why})", flush=True)
            return
        if time.monotonic() > until:
            sys.exit(f"demo: expected {verdict!r} within {PATIENCE_S} s; the probe says: {line}")
        time.sleep(0.05)


def ask(port: int, command: str) -> None:
    """Sends one line to the agent, and waits for its answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(command.encode() + b"\n")
        connection.makefile().readline()


if __name__ == "__main__":
    sys.exit(main())
