#!/usr/bin/env python3
"""What ready-probe costs, next to the least that it could cost. See README.md.

usage: python3 bench/run.py [--probe PATH] [--rounds N] [--no-python] [--no-python-sdk] [--no-fleet] [--check]
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import build
from build import BENCH, BenchError
from fleet import measure_fleet, print_fleet
from limits import Limit, at_most, below, exit_code, print_limits
from measure import Command, Summary, measure, try_out
from program import run_program
from python_sdk import measure_python_sdk, print_python_sdk
from world import AGENT, PATH, World, flooding_server, heard_by_server, program, world

PYTHON_EVERY = 10
FLOOD_ROUNDS = 3
MB = 1000 * 1000

NATS_INFO = 'INFO {"server_id":"F","version":"2.10.0","proto":1,"max_payload":1048576}\r\n'
HTTP_OK = "HTTP/1.1 200 OK\r\n"


@dataclass(frozen=True)
class Flood:
    """A way of sending without end, and the target that asks for it."""

    name: str
    target: str
    prefix: str
    pattern: str


FLOODS = (
    Flood("redis: a line", "redis://127.0.0.1:{port}", "+", "A"),
    Flood("redis: a bulk string", "redis://127.0.0.1:{port}", "$536870912\r\n", "A"),
    Flood("redis: a flat array", "redis://127.0.0.1:{port}", "*1000000000\r\n", "$1\r\nA\r\n"),
    Flood("redis: nested arrays", "redis://127.0.0.1:{port}", "", "*1\r\n"),
    Flood("redis: errors", "redis://127.0.0.1:{port}", "", "-ERR no\r\n"),
    Flood("nats: an INFO line", "nats://127.0.0.1:{port}", 'INFO {"server_id":"', "A"),
    Flood("nats: PINGs", "nats://127.0.0.1:{port}", NATS_INFO, "PING\r\n"),
    Flood("nats: +OKs", "nats://127.0.0.1:{port}", NATS_INFO, "+OK\r\n"),
    Flood("nats: a message", "nats://127.0.0.1:{port}", NATS_INFO + "MSG a 1 1000000000\r\n", "A"),
    Flood("http: a header", "http://127.0.0.1:{port}/", HTTP_OK + "x: ", "A"),
    Flood("http: headers", "http://127.0.0.1:{port}/", HTTP_OK, "x: y\r\n"),
    Flood("http: a body", "http://127.0.0.1:{port}/#contains=never", HTTP_OK + "\r\n", "A"),
    Flood("http: chunks", "http://127.0.0.1:{port}/#contains=never",
          HTTP_OK + "transfer-encoding: chunked\r\n\r\n", "1\r\nA\r\n"),
)  # fmt: skip


def expected_exit(command: Command, cost: Summary) -> Limit:
    codes = ", ".join(str(code) for code in sorted(cost.statuses))
    return Limit(f"exit, {command.name}", codes, str(command.exit_code), cost.statuses == {command.exit_code})


def print_costs(title: str, commands: Sequence[Command], costs: Sequence[Summary], said: Sequence[str]) -> None:
    """One row a command, and the first line that it printed."""
    head = f"{title:<26} {'runs':>5} {'median ms':>10} {'p90 ms':>8} {'max ms':>8} {'CPU ms':>8} {'peak RSS MB':>12}"
    print(f"\n{head}")
    for command, cost, line in zip(commands, costs, said, strict=True):
        print(
            f"  {command.name:<24} {cost.runs:>5} {cost.wall_ms:>10.3f} {cost.wall_p90_ms:>8.3f}"
            f" {cost.wall_max_ms:>8.1f} {cost.cpu_ms:>8.3f} {cost.rss_mb:>12.2f}  {line}"
        )


@dataclass(frozen=True)
class Bench:
    """The probe, and what it is measured with."""

    probe: str
    launcher: Path
    env: Mapping[str, str]
    world: World
    rounds: int

    def compare(
        self, title: str, commands: Sequence[Command], more_env: Mapping[str, str] | None = None
    ) -> list[Summary]:
        env = {**self.env, **(more_env or {})}
        said = []
        for command in commands:
            code, line = try_out(command, env)
            if code != command.exit_code:
                raise BenchError(f"{command.name}: exit {code}, not {command.exit_code}: {line}")
            said.append(line)
        costs = measure(self.launcher, commands, env, self.rounds)
        print_costs(title, commands, costs, said)
        return costs

    def local(self) -> list[Limit]:
        commands = [
            Command("floor_local", [str(build.compile_c("floor_local")), str(self.world.record)]),
            Command("ready-probe (local)", [self.probe, f"agent:{AGENT}"]),
        ]
        floor, probe = self.compare("local: one agent", commands)
        return [
            at_most("wall, local: probe / floor_local", probe.wall_ms / floor.wall_ms, 2.0),
            below("peak RSS, local probe", probe.rss_mb, 5, " MB"),
            expected_exit(commands[1], probe),
        ]

    def local_by_settings(self) -> list[Limit]:
        """The same agent, named by a variable; and in a folder of its own, which may be on any disk."""
        floor = Command("floor_local", [str(build.compile_c("floor_local")), str(self.world.record)])
        bare = Command("ready-probe (bare)", [self.probe])
        own = Command("ready-probe (READY_DIR)", [self.probe])
        named = {"READY_AGENT": AGENT}
        limits = []
        for title, command, env in (
            ("local: READY_AGENT", bare, named),
            ("local: READY_DIR", own, {**named, "READY_DIR": str(self.world.own_dir)}),
        ):
            least, probe = self.compare(title, [floor, command], env)
            limits += [
                at_most(f"wall, {title}: probe / floor_local", probe.wall_ms / least.wall_ms, 2.0),
                expected_exit(command, probe),
            ]
        return limits

    def same_bytes(self) -> list[Limit]:
        """The floor must do the probe's work, or it is no floor."""
        floor, record = str(build.compile_c("floor_net")), str(self.world.record)
        redis, nats = str(self.world.redis_port), str(self.world.nats_port)
        heard = {
            "redis": [
                heard_by_server(command, b"", b"+PONG\r\n")
                for command in (
                    lambda port: [floor, record, str(port), nats],
                    lambda port: [self.probe, f"redis://127.0.0.1:{port}"],
                )
            ],
            "nats": [
                heard_by_server(command, NATS_INFO.encode(), b"PONG\r\n")
                for command in (
                    lambda port: [floor, record, redis, str(port)],
                    lambda port: [self.probe, f"nats://127.0.0.1:{port}"],
                )
            ],
        }
        return [
            Limit(f"bytes sent, {name}: probe and floor_net", "the same" if same else f"{ours!r}", "the same", same)
            for name, (theirs, ours) in heard.items()
            for same in [theirs == ours and len(ours) > 0]
        ]

    def network(self, python: Path | None) -> list[Limit]:
        commands = self.network_commands(python)
        floor, probe, redis_cli = self.compare("network: + Redis, NATS", commands)[:3]
        return [
            at_most("wall, network: probe / floor_net", probe.wall_ms / floor.wall_ms, 2.0),
            below("wall, network: probe / redis-cli", probe.wall_ms / redis_cli.wall_ms, 1.0),
            below("peak RSS, network probe", probe.rss_mb, 5, " MB"),
            expected_exit(commands[1], probe),
        ]

    def network_commands(self, python: Path | None) -> list[Command]:
        redis, nats, record = str(self.world.redis_port), str(self.world.nats_port), str(self.world.record)
        urls = [f"redis://127.0.0.1:{redis}", f"nats://127.0.0.1:{nats}"]
        commands = [
            Command("floor_net", [str(build.compile_c("floor_net")), record, redis, nats]),
            Command("ready-probe (network)", [self.probe, f"agent:{AGENT}", *urls]),
            Command("redis-cli ping", [program("redis-cli"), "-p", redis, "ping"]),
        ]
        if python:
            script = [str(python), str(BENCH / "python_probe.py"), record, *urls]
            commands.append(Command("python, redis-py, nats-py", script, every=PYTHON_EVERY))
        return commands

    def flooded(self) -> list[Limit]:
        binary = build.compile_c("flood")
        commands, costs, said = [], [], []
        for flood in FLOODS:
            with flooding_server(binary, flood.prefix, flood.pattern) as port:
                argv = [self.probe, "--timeout", "1s", flood.target.format(port=port)]
                command = Command(flood.name, argv, exit_code=1)
                said.append(try_out(command, self.env)[1])
                costs += measure(self.launcher, [command], self.env, FLOOD_ROUNDS)
                commands.append(command)
        print_costs("flooded (--timeout 1s)", commands, costs, said)
        worst = max(cost.rss_mb for cost in costs)
        exits = [expected_exit(command, cost) for command, cost in zip(commands, costs, strict=True)]
        return [below("peak RSS, flooded", worst, 8, " MB"), *exits]


def fleet_limits() -> list[Limit]:
    with tempfile.TemporaryDirectory(prefix="ready-probe-bench-") as scratch:
        costs, readings = measure_fleet(Path(scratch))
    print_fleet(costs, readings)
    return [
        *[at_most(f"commands, {cost.store}, {cost.agents} agents", cost.commands, 3.0) for cost in costs],
        *[at_most(f"wall, one peer, {one.store}", one.ratio, 1.2) for one in readings],
    ]


def python_sdk_limits(launcher: Path, env: Mapping[str, str], rounds: int) -> list[Limit]:
    python = build.make_venv()
    build.install_wheel(python)
    costs = measure_python_sdk(python, launcher, env, rounds)
    print_python_sdk(costs)
    _, ours, _ = costs.imports
    marks = [mark for mark in costs.markings if mark.name == "ready_probe"]
    beats = [beat for beat in costs.beatings if beat.name == "ready_probe"]
    said = ["never" if beat.stalled_ms is None else "stalled" for beat in beats]
    return [
        below("import ready_probe, beyond bare", ours.beyond_ms, 15, " ms"),
        *[below(f"mark_agent_ready, store: {mark.store}", mark.median_ms, 1, " ms") for mark in marks],
        # A beat may be 20 % late by itself.
        *[at_most(f"gap / beat, GIL held, {beat.place}", beat.ratio, 2.0) for beat in beats],
        *[
            Limit(f"watchdog, GIL held, {beat.place}", word, "stalled", word == "stalled")
            for beat, word in zip(beats, said, strict=True)
        ],
    ]


def file_limits(probe: Path) -> list[Limit]:
    linkage = build.linkage(probe)
    return [
        at_most("size", probe.stat().st_size / MB, 4.0, " MB"),
        Limit("linkage", linkage, "static", linkage == "static"),
    ]


def venv_or_reason(skip: bool) -> Path | None:
    """Nothing is held against the script's figures, so the bench goes on without it."""
    if skip:
        return None
    try:
        return build.make_venv()
    except BenchError as error:
        print(f"the Python script is left out: {error}", file=sys.stderr)
        return None


def bench(options: argparse.Namespace) -> list[Limit]:
    probe, rounds = options.probe.resolve(), options.rounds
    launcher = build.compile_c("launch")
    python = venv_or_reason(options.no_python)
    # How a file lies in the page cache is a sixth of its start: as a layer of an image it is written once, from
    # its beginning to its end.
    with world() as up, tempfile.TemporaryDirectory() as layer:
        env = {"PATH": PATH}
        copied = shutil.copy(probe, layer)
        runs = Bench(copied, launcher, env, up, rounds)
        limits = [
            *runs.local(),
            *runs.local_by_settings(),
            *runs.same_bytes(),
            *runs.network(python),
            *runs.flooded(),
            *file_limits(probe),
        ]
    if not options.no_python_sdk:
        limits += python_sdk_limits(launcher, env, rounds)
    if not options.no_fleet:
        limits += fleet_limits()
    return limits


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What ready-probe costs, next to the least that it could cost.")
    built = BENCH.parent / "dist" / "ready-probe"
    parser.add_argument("--probe", type=Path, default=built, help="the binary to measure (default: dist/ready-probe)")
    parser.add_argument("--rounds", type=int, default=200, help="runs of each command (default: 200)")
    parser.add_argument("--no-python", action="store_true", help="leave the Python script out")
    parser.add_argument("--no-python-sdk", action="store_true", help="leave the Python package out")
    parser.add_argument("--no-fleet", action="store_true", help="leave the agents that announce out")
    parser.add_argument("--check", action="store_true", help="exit 1 when a limit is broken")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    if not os.access(options.probe, os.X_OK):
        parser.error(f"{options.probe}: no such program; build it first, or name another with --probe")
    return options


def report(options: argparse.Namespace) -> int:
    print(f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs")
    print(f"command: {shlex.join([Path(sys.executable).name, *sys.argv])}")
    limits = bench(options)
    print_limits(limits)
    return exit_code(limits, options.check)


if __name__ == "__main__":
    given = arguments()
    sys.exit(run_program("bench", lambda: report(given)))
