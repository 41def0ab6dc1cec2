"""What announcing costs, and what reading one peer costs in a small fleet and in a large one.

Drives sdk/examples/fleet.rs against servers of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from build import TARGET, BenchError, run_quietly
from world import answers, end, free_port, program, redis_server, server

AGENTS = (1, 100, 10_000)
TTL_S = 12
BEATS_PER_TTL = 6
SMALL, LARGE = 10, 10_000
ROUNDS = 2_000
NEWER_NATS = TARGET / "venv" / "bin" / "nats-server"


@dataclass(frozen=True)
class Announcing:
    """Of one agent and beat; the commands include what keeps the indexes."""

    store: str
    agents: int
    cpu_us: float
    commands: float


@dataclass(frozen=True)
class Reading:
    """One peer, in a fleet of SMALL and of LARGE agents."""

    store: str
    small_us: float
    large_us: float

    @property
    def ratio(self) -> float:
        return self.large_us / self.small_us


def build_example() -> Path:
    argv = ["cargo", "build", "--quiet", "--locked", "--release", "-p", "ready-probe-sdk", "--example", "fleet"]
    run_quietly(argv, 1800)
    return TARGET / "release" / "examples" / "fleet"


@contextlib.contextmanager
def jetstream(binary: str, scratch: Path) -> Iterator[tuple[int, int]]:
    """The ports of a nats-server: for clients, and for its figures."""
    port, monitor = free_port(), free_port()
    argv = [binary, "-a", "127.0.0.1", "-p", str(port), "-m", str(monitor), "-js", "-sd", str(scratch / "jetstream")]
    scratch.mkdir()
    with server(argv, scratch / "nats.log", lambda: answers(port, b"", b"INFO ")):
        yield port, monitor


def redis_commands(port: int) -> int:
    """How many commands the server has run, but for INFO itself."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"INFO commandstats\r\n")
        reply = b""
        while not reply.endswith(b"\r\n") or reply.count(b"\r\n") < 2:
            reply += connection.recv(65536)
    lines = [line for line in reply.decode().splitlines() if line.startswith("cmdstat_")]
    calls = {line.split(":")[0][8:]: int(line.split("calls=")[1].split(",")[0]) for line in lines}
    return sum(count for name, count in calls.items() if name != "info")


def nats_messages(monitor: int) -> int:
    """How many messages clients have sent to the server."""
    with urllib.request.urlopen(f"http://127.0.0.1:{monitor}/varz", timeout=5) as answer:
        return int(json.load(answer)["in_msgs"])


def cpu_ns(pid: int) -> int:
    """What all threads of a process have run: its clock ticks are too coarse for one agent."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def announcing(binary: Path, store: str, url: str, agents: int, commands: Callable[[], int]) -> Announcing:
    argv = [str(binary), "announce", url, str(agents), str(TTL_S)]
    signals = Path("/dev/shm") / f"ready-probe-bench-{os.getpid()}"
    env = {"READY_DIR": str(signals)}
    process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout
    try:
        if process.stdout.readline() != b"announced\n":
            raise BenchError(f"{agents} agents can't be announced to {store}")
        # Agents that came one after another beat together after a beat; indexes are kept once a TTL.
        time.sleep(2 * TTL_S / BEATS_PER_TTL)
        start, cpu, sent = time.monotonic(), cpu_ns(process.pid), commands()
        time.sleep(2 * TTL_S)
        beats = (time.monotonic() - start) / TTL_S * BEATS_PER_TTL * agents
        cpu, sent = cpu_ns(process.pid) - cpu, commands() - sent
        process.stdin.close()
        if process.wait(60) != 0:
            raise BenchError(f"not all of {agents} agents stayed announced to {store}")
    finally:
        end(process)
        process.stdout.close()
        run_quietly(["rm", "-rf", str(signals)], 60)
    return Announcing(store, agents, cpu / 1000 / beats, sent / beats)


def reading(binary: Path, store: str, urls: tuple[str, str]) -> Reading:
    argv = [str(binary), "read", *urls, str(SMALL), str(LARGE), str(ROUNDS)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=120)
    if done.returncode != 0:
        raise BenchError(f"reading a peer from {store}: exit {done.returncode}")
    small, large = (int(line) / 1000 for line in done.stdout.split())
    return Reading(store, small, large)


def measure_fleet(scratch: Path) -> tuple[list[Announcing], list[Reading]]:
    binary = build_example()
    costs, readings = [], []
    with redis_server(scratch) as port:
        url = f"redis://127.0.0.1:{port}"
        for agents in AGENTS:
            costs.append(announcing(binary, "Redis", url, agents, lambda: redis_commands(port)))
        readings.append(reading(binary, "Redis", (url, url)))
    for store, nats in (("NATS 2.15", str(NEWER_NATS)), ("NATS 2.9", program("nats-server"))):
        with jetstream(nats, scratch / store) as (port, monitor):
            url = f"nats://127.0.0.1:{port}"
            for agents in AGENTS:
                costs.append(announcing(binary, store, url, agents, lambda: nats_messages(monitor)))
            readings.append(reading(binary, store, (f"{url}#bucket=small", f"{url}#bucket=large")))
    return costs, readings


def print_fleet(costs: list[Announcing], readings: list[Reading]) -> None:
    print(f"\n{'announcing, one process':<26} {'agents':>7} {'CPU µs / beat':>14} {'commands / beat':>16}")
    for cost in costs:
        print(f"  {cost.store:<24} {cost.agents:>7} {cost.cpu_us:>14.1f} {cost.commands:>16.2f}")
    print(f"\n{'reading one peer':<26} {f'of {SMALL}, µs':>14} {f'of {LARGE}, µs':>14} {'ratio':>7}")
    for one in readings:
        print(f"  {one.store:<24} {one.small_us:>14.1f} {one.large_us:>14.1f} {one.ratio:>7.2f}")
