"""The containers whose health is measured, and the ways in which the engine learns of it.

A container holds the static probe and the example agent under a supervisor that restarts nothing, so that it
lives on when its agent has died.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from build import BenchError
from engine import STATUS, Container, Engine, Event, Events, built, command_line, example_agent

PROBE = "/ready-probe"
PORT = 5555
# Longer than anything here takes on a busy machine.
LIMIT_S = 60
# The probe's own time for asking, and some more, on top of a hold.
BEYOND_HOLD_S = 10


@dataclass(frozen=True)
class Way:
    """How the engine asks: each `interval_s`; with `hold_s`, each answer waits that long for news."""

    interval_s: int
    hold_s: int = 0

    @property
    def name(self) -> str:
        if not self.hold_s:
            return f"polling, interval {self.interval_s} s"
        return f"{self.short}, interval {self.interval_s} s"

    @property
    def short(self) -> str:
        """Of one that holds."""
        return f"held {self.hold_s // 60} min" if self.hold_s % 60 == 0 else f"held {self.hold_s} s"

    @property
    def cycle_s(self) -> int:
        return self.interval_s + self.hold_s

    def instruction(self, start_period_s: int = 0) -> str:
        timeout = self.hold_s + BEYOND_HOLD_S
        options = f"--interval={self.interval_s}s --timeout={timeout}s --retries=1"
        if start_period_s:
            options += f" --start-period={start_period_s}s"
        return f"HEALTHCHECK {options} CMD {json.dumps(self.command())}"

    def command(self) -> list[str]:
        if not self.hold_s:
            return [PROBE]
        return [PROBE, "--long-poll", f"{self.hold_s}s", "--retries", "1"]


HELD = (Way(1, 25), Way(1, 300))
POLLING = (Way(1), Way(5), Way(30))
WAYS = (*HELD, *POLLING)


def image(engine: Engine, way: Way | None, start_period_s: int = 0, command: Sequence[str] = ()) -> str:
    """The probe, the agent, and this health check of them, or none."""
    changes = [f"CMD {json.dumps(list(command) or ['/rust-agent', 'supervise', f'translator={PORT}'])}"]
    if way:
        changes.append(way.instruction(start_period_s))
    tag = re.sub(r"[^a-z0-9]+", "-", way.name if way else "unchecked") + f"-{start_period_s}"
    return engine.image(f"ready-probe-bench/{tag}", [built("ready-probe", "probe"), example_agent()], changes)


class Subject:
    """A container with one agent, whose health the engine watches in one way."""

    def __init__(self, container: Container, events: Events, way: Way, seed: str) -> None:
        self.container = container
        self.events = events
        self.way = way
        self.random = random.Random(seed)
        self.address = container.address

    def becomes(self, status: str) -> Event:
        """Longer than two checks take."""
        return self.events.next(self.container, STATUS + status, LIMIT_S + 2 * self.way.interval_s)

    def rest(self) -> None:
        """Until a hold is under way; or for a part of an interval, since the last check may lie anywhere in it."""
        if not self.way.hold_s:
            return time.sleep(self.random.uniform(0, self.way.interval_s))
        self.events.next(self.container, "exec_start: ", LIMIT_S)
        # Held answers other than healthy end after 5 s.
        return time.sleep(self.random.uniform(0.5, 1.5))

    def tell(self, *lines: str, port: int = PORT) -> float:
        """Says these lines to the agent, one after another; when the first of them was sent."""
        return tell(self.address, port, lines)[0]

    def kill(self) -> float:
        """Kills the agent; when that was."""
        (pid,) = self.agents()
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return at

    def agents(self) -> list[int]:
        return [pid for pid in self.container.processes() if command_line(pid) == "/rust-agent "]

    def start_agent(self) -> None:
        self.container.engine.run("exec", "--detach", "--env=AGENT_NAME=translator", self.container.id, "/rust-agent")


def tell(
    address: str, port: int, lines: Sequence[str], limit_s: float = LIMIT_S
) -> tuple[float, list[tuple[float, str]]]:
    """Says lines to an agent; when the first was sent, and each answer with the time at which it came."""
    connection = connect(address, port, limit_s)
    with connection, connection.makefile("rb") as answers:
        at = time.monotonic()
        connection.sendall("".join(f"{line}\n" for line in lines).encode())
        heard = []
        for line in lines:
            answer = answers.readline().decode().strip()
            if not answer or answer.startswith("error"):
                raise BenchError(f"agent at {address}:{port}, {line}: {answer or 'it has gone'}")
            heard.append((time.monotonic(), answer))
    return at, heard


def connect(address: str, port: int, limit_s: float) -> socket.socket:
    """As soon as the agent listens."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            connection = socket.create_connection((address, port), timeout=limit_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            if time.monotonic() > deadline:
                raise BenchError(f"agent at {address}:{port}: {error}") from error
        time.sleep(0.02)


@contextlib.contextmanager
def subject(engine: Engine, events: Events, way: Way, tag: str, env: Mapping[str, str], seed: str) -> Iterator[Subject]:
    """Healthy, to begin with."""
    variables = [f"--env={name}={value}" for name, value in env.items()]
    container = engine.start(tag, *variables)
    try:
        under_test = Subject(container, events, way, seed)
        under_test.becomes("healthy")
        yield under_test
    finally:
        container.remove()


def beats(pid: int) -> int:
    """How often the agents of a container have written, by a process in it. Each record counts its own beats."""
    folder = Path(f"/proc/{pid}/root/dev/shm/ready-probe")
    return sum(int(json.loads(record.read_text())["seq"]) for record in folder.glob("translator/*.json"))
