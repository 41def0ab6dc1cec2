"""What a health check costs: the CPU of everything that it sets going, and what a probe takes that waits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from build import BenchError
from engine import Engine, Events
from subject import HELD, LIMIT_S, PROBE, WAYS, Way, beats, image, subject

# Whole cycles of polling at all intervals but the longest, and of 25 s held and 1 s between.
SECONDS = 78
ROUNDS = 2
COUNTS = (1, 24)
# After the last container has turned healthy: the next check holds.
SETTLE_S = 5


@dataclass(frozen=True)
class Waiting:
    """A probe that holds its answer, and how often its threads went to sleep beside the beats that came."""

    anonymous_mb: float
    resident_mb: float
    sleeps: int
    beats: int
    minutes: float

    @property
    def beyond_beats(self) -> float:
        """A minute. A beat at each end may have been counted only on one side."""
        return (self.sleeps - self.beats - 1) / self.minutes


def rollup_mb(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024 / 1e6


def sleeps(pid: int) -> int:
    """Of all threads. One that is only preempted has not been woken."""
    statuses = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/status")]
    lines = [line.split() for status in statuses for line in status.splitlines()]
    return sum(int(words[1]) for words in lines if words[0] == "voluntary_ctxt_switches:")


def measure_waiting(engine: Engine, events: Events, seconds: int) -> Waiting:
    way = HELD[-1]
    # As many beats as there are; each of them is written where the probe looks.
    env = {"AGENT_TTL": "12s", "AGENT_HEARTBEAT": "2s"}
    with subject(engine, events, way, image(engine, way), env, way.name) as held:
        held.rest()
        (agent,) = held.agents()
        try:
            (probe,) = held.container.processes_of(PROBE)
        except ValueError as error:
            raise BenchError(f"no probe waits, or several do: {held.container.health()}") from error
        start, slept, beaten = time.monotonic(), sleeps(probe), beats(agent)
        time.sleep(seconds)
        slept, beaten, minutes = sleeps(probe) - slept, beats(agent) - beaten, (time.monotonic() - start) / 60
        return Waiting(rollup_mb(probe, "Anonymous"), rollup_mb(probe, "Rss"), slept, beaten, minutes)


def window_s(way: Way | None, seconds: int | None) -> int:
    """At least one whole cycle."""
    if seconds is not None:
        return seconds
    cycle_s = way.cycle_s if way else 1
    return cycle_s * -(-SECONDS // cycle_s)


def load(engine: Engine, way: Way | None, count: int, seconds: int) -> float:
    """CPU seconds a minute, of the engine and of everything that it runs."""
    tag = image(engine, way)
    try:
        for _ in range(count):
            engine.start(tag, "--network=none")
        wait_until_healthy(engine, way, count)
        time.sleep(SETTLE_S)
        start, used = time.monotonic(), engine.account.cpu_s()
        time.sleep(seconds)
        used, passed = engine.account.cpu_s() - used, time.monotonic() - start
        wait_until_healthy(engine, way, count, limit_s=1)
    finally:
        engine.remove_containers()
    return used / (passed / 60)


def wait_until_healthy(engine: Engine, way: Way | None, count: int, limit_s: float = LIMIT_S) -> None:
    if way is None:
        return
    deadline = time.monotonic() + limit_s + way.interval_s
    while len(engine.run("ps", "--quiet", "--filter=health=healthy").split()) < count:
        if time.monotonic() > deadline:
            raise BenchError(f"{way.name}: not all of {count} containers are healthy")
        time.sleep(0.5)


@dataclass(frozen=True)
class Cost:
    """CPU of everything, in seconds a container and minute, beyond the same containers without a health check."""

    cpu_s: float


def measure_cpu(engine: Engine, rounds: int, seconds: int | None) -> dict[int, dict[Way, Cost]]:
    return {count: costs(engine, count, rounds, seconds) for count in COUNTS}


def costs(engine: Engine, count: int, rounds: int, seconds: int | None) -> dict[Way, Cost]:
    """What is lightest of several rounds was disturbed least. Rounds interleave what is compared."""
    lightest: dict[Way | None, float] = {}
    for _ in range(rounds):
        for way in (None, *WAYS):
            a_minute = load(engine, way, count, window_s(way, seconds))
            lightest[way] = min(a_minute, lightest.get(way, a_minute))
    return {way: Cost((lightest[way] - lightest[None]) / count) for way in WAYS}
