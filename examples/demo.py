#!/usr/bin/env python3
"""Shows what ready-probe sees of one agent: starting, healthy, stalled, healthy, killed.

usage: python3 examples/demo.py PROBE AGENT
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE_S = 20


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 64
    probe, agent = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="ready-probe-demo-") as folder, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.close()
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "READY_DIR": folder,
            "READY_AGENT": "translator",
            "AGENT_NAME": "translator",
            "AGENT_LOAD": "3s",
            "AGENT_WATCHDOG": "1s",
            "AGENT_PORT": str(port),
        }
        return show(probe, agent, environment, port)


def show(probe: str, agent: str, environment: dict[str, str], port: int) -> int:
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
    print("\nIn a container, Docker does the asking: HEALTHCHECK CMD [\"/ready-probe\"]")
    return 0


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
