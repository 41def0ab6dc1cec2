"""How long the engine takes to turn a container's status after its agent has changed.

The beginning is when the change was asked for, the end when the engine's event was read, both on the monotonic
clock of this process.
"""

from __future__ import annotations

import functools
import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine import Engine, Events
from measure import percentile
from subject import HELD, POLLING, WAYS, Subject, Way, image, subject
from together import together

READY, KILLED, STALLED = "mark_ready() → healthy", "kill -9 → unhealthy", "stall → unhealthy"
WATCHDOG_S = 1


@dataclass(frozen=True)
class Latencies:
    """From a change to the engine's status, in seconds."""

    of: Sequence[float]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.of) * 1000

    @property
    def p95_ms(self) -> float:
        return percentile(self.of, 0.95) * 1000

    @property
    def worst_ms(self) -> float:
        return max(self.of) * 1000


Measured = dict[str, list[float]]


def at_once(way: Way) -> int:
    """How many containers take turns at the rounds: as many as an otherwise idle machine does not notice."""
    return 1 if way.hold_s else min(2 * way.interval_s, 25)


def measure(
    engine: Engine,
    events: Events,
    way: Way,
    rounds: int,
    env: Mapping[str, str],
    one: Callable[[Subject, Measured], None],
) -> Measured:
    """All rounds of a way, on containers of their own."""
    tag = image(engine, way)
    measured: Measured = {}
    left = iter(range(rounds))
    lock = threading.Lock()

    def work(under_test: Subject) -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            round_: Measured = {}
            one(under_test, round_)
            with lock:
                for change, latencies in round_.items():
                    measured.setdefault(change, []).extend(latencies)

    def take_turns(seed: str) -> None:
        with subject(engine, events, way, tag, env, seed) as under_test:
            work(under_test)

    count = min(at_once(way), rounds)
    together([functools.partial(take_turns, f"{way.name} {number}") for number in range(count)])
    return measured


def change(under_test: Subject, measured: Measured) -> None:
    """One agent is marked, dies, and is started again."""
    under_test.rest()
    under_test.tell("reload update")
    under_test.becomes("unhealthy")
    under_test.rest()
    asked = under_test.tell("resume")
    measured[READY] = [under_test.becomes("healthy").at - asked]
    under_test.rest()
    killed = under_test.kill()
    measured[KILLED] = [under_test.becomes("unhealthy").at - killed]
    under_test.start_agent()
    under_test.becomes("healthy")


def stall(under_test: Subject, measured: Measured) -> None:
    """A job ends, and the next one hangs: the watchdog expires a limit after the end of the first."""
    hang_s = WATCHDOG_S + 2 * under_test.way.interval_s
    under_test.rest()
    ticked = under_test.tell("translate word", f"hang {hang_s}s")
    measured[STALLED] = [under_test.becomes("unhealthy").at - ticked - WATCHDOG_S]
    under_test.becomes("healthy")


def measure_latency(engine: Engine, events: Events, rounds: int) -> dict[Way, dict[str, Latencies]]:
    return {way: summed_up(measure(engine, events, way, rounds, {}, change)) for way in WAYS}


def measure_stalls(engine: Engine, events: Events, rounds: int) -> dict[Way, dict[str, Latencies]]:
    env = {"AGENT_WATCHDOG": f"{WATCHDOG_S}s"}
    return {way: summed_up(measure(engine, events, way, rounds, env, stall)) for way in (*HELD, POLLING[0])}


def summed_up(measured: Measured) -> dict[str, Latencies]:
    return {change: Latencies(latencies) for change, latencies in measured.items()}
