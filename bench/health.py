#!/usr/bin/env python3
"""How soon a real Docker engine learns of an agent's health, and what that costs. See README.md.

usage: python3 bench/health.py [--only PART] [--rounds N] [--seconds S] [--cpu-rounds N]
                               [--check]
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence

from engine import Engine, engine, events
from health_chain import LOADS_S, Chain, measure_chains
from health_cost import ROUNDS, SECONDS, Cost, Waiting, measure_cpu, measure_waiting
from health_latency import KILLED, READY, STALLED, Latencies, measure_latency, measure_stalls
from limits import Limit, at_most, below, exit_code, print_limits
from program import run_program
from subject import HELD, POLLING, WAYS, Way

MEDIAN_MS, WORST_MS = 30, 150
A_LINK_S = 1.3
# Of the CPU that polling every second takes.
SHARES = {HELD[0]: 1 / 6, HELD[1]: 1 / 12}

# A column of the table, and what stands in it.
Columns = dict[str, Mapping[Way, str]]


class Report:
    """What was measured: columns of the one table, lines below it, and what it is held to."""

    def __init__(self) -> None:
        self.columns: Columns = {}
        self.lines: list[str] = []
        self.limits: list[Limit] = []

    def print(self) -> None:
        if self.columns:
            print_row(["health check", *self.columns])
            print_row(["---"] * (1 + len(self.columns)))
            for way in WAYS:
                print_row([way.name, *[cells.get(way, "") for cells in self.columns.values()]])
        for line in self.lines:
            print(f"\n{line}")
        print_limits(self.limits)


def print_row(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |")


def latencies(report: Report, measured: Mapping[Way, Mapping[str, Latencies]], changes: Sequence[str]) -> None:
    for change in changes:
        report.columns[f"{change}, ms: median / p95 / worst"] = {
            way: f"{each[change].median_ms:,.0f} / {each[change].p95_ms:,.0f} / {each[change].worst_ms:,.0f}"
            for way, each in measured.items()
        }
        for way in HELD:
            one = measured[way][change]
            title = f"{change}, {way.short}"
            report.limits += [
                at_most(f"{title}, median", one.median_ms, MEDIAN_MS, " ms"),
                at_most(f"{title}, worst", one.worst_ms, WORST_MS, " ms"),
            ]


def chains(report: Report, measured: Mapping[Way, Chain]) -> None:
    title = f"{len(LOADS_S)} services in a chain that load for {sum(LOADS_S):.1f} s in all"
    report.columns[f"{title}, s"] = {way: f"{max(chain.took_s):.1f}" for way, chain in measured.items()}
    for way in HELD:
        report.limits.append(at_most(f"chain, lost a link, {way.short}", measured[way].a_link_s, A_LINK_S, " s"))


def waiting(report: Report, measured: Waiting) -> None:
    report.lines.append(
        f"While it waits, the probe has {measured.anonymous_mb:.2f} MB of memory of its own, {measured.resident_mb:.2f} MB with"
        f" what it shares; its threads slept and were woken {measured.sleeps} times in {measured.minutes:.1f} min,"
        f" in which {measured.beats} beats came."
    )
    report.limits += [
        below("waiting: anonymous memory", measured.anonymous_mb, 1, " MB"),
        below("waiting: resident", measured.resident_mb, 4, " MB"),
        at_most("waiting: wake-ups a minute beyond the beats", measured.beyond_beats, 4),
    ]


def cpu(report: Report, measured: Mapping[int, Mapping[Way, Cost]]) -> None:
    for count, costs in measured.items():
        title = "1 container" if count == 1 else f"each of {count} containers"
        report.columns[f"CPU s a minute, {title}"] = {way: f"{cost.cpu_s:.2f}" for way, cost in costs.items()}
        for way, share in SHARES.items():
            ratio = costs[way].cpu_s / costs[POLLING[0]].cpu_s
            what = f"CPU / polling each second, {count}, {way.short}"
            report.limits.append(Limit(what, f"{ratio:.3f}", f"<= {share:.3f}", ratio <= share))


PARTS = ("latency", "stall", "chain", "waiting", "cpu")


def measure(running: Engine, options: argparse.Namespace) -> Report:
    report = Report()
    parts = [options.only] if options.only else PARTS
    with events(running) as heard:
        if "latency" in parts:
            latencies(report, measure_latency(running, heard, options.rounds), [READY, KILLED])
        if "stall" in parts:
            latencies(report, measure_stalls(running, heard, options.rounds), [STALLED])
        if "chain" in parts:
            chains(report, measure_chains(running, heard))
        if "waiting" in parts:
            waiting(report, measure_waiting(running, heard, options.seconds or SECONDS))
    # Nobody listens now: the engine has nobody to tell.
    if "cpu" in parts:
        cpu(report, measure_cpu(running, options.cpu_rounds, options.seconds))
    return report


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How soon Docker learns of an agent's health, and what that costs.")
    parser.add_argument("--only", choices=PARTS, help="measure this alone")
    parser.add_argument("--rounds", type=int, default=50, help="changes of each kind (default: 50)")
    seconds = f"how long CPU is measured (default: whole cycles of each health check, at least {SECONDS})"
    parser.add_argument("--seconds", type=int, help=seconds)
    rounds = f"how often CPU is measured; the lightest counts (default: {ROUNDS})"
    parser.add_argument("--cpu-rounds", type=int, default=ROUNDS, help=rounds)
    parser.add_argument("--check", action="store_true", help="exit 1 when a limit is broken")
    options = parser.parse_args()
    if options.rounds < 1 or options.cpu_rounds < 1:
        parser.error("--rounds, --cpu-rounds: at least 1")
    if options.seconds is not None and options.seconds < 1:
        parser.error("--seconds: at least 1")
    return options


def bench(options: argparse.Namespace) -> int:
    command = shlex.join(["python3", "bench/health.py", *sys.argv[1:]])
    with engine() as running:
        version = running.run("version", "--format={{.Server.Version}}")
        system = f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} CPUs"
        print(f"`{command}`, Docker {version}, {system}, `--retries=1`:\n")
        report = measure(running, options)
    report.print()
    return exit_code(report.limits, options.check)


if __name__ == "__main__":
    given = arguments()
    sys.exit(run_program("bench", lambda: bench(given)))
