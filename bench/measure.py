"""Runs commands through bench/launch.c and sums up what they cost."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from build import BenchError

PAUSE_US = 500  # lets a server finish with the connection before


@dataclass(frozen=True)
class Command:
    name: str
    argv: Sequence[str]
    every: int = 1
    exit_code: int = 0


@dataclass(frozen=True)
class Sample:
    status: int
    wall_ms: float
    cpu_ms: float
    rss_mb: float


@dataclass(frozen=True)
class Summary:
    runs: int
    wall_ms: float
    wall_p90_ms: float
    wall_max_ms: float
    cpu_ms: float
    rss_mb: float
    statuses: frozenset[int]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values doesn't exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


def summary(runs: Sequence[Sample]) -> Summary:
    walls = [sample.wall_ms for sample in runs]
    return Summary(
        runs=len(runs),
        wall_ms=statistics.median(walls),
        wall_p90_ms=percentile(walls, 0.9),
        wall_max_ms=max(walls),
        cpu_ms=statistics.median(sample.cpu_ms for sample in runs),
        rss_mb=max(sample.rss_mb for sample in runs),
        statuses=frozenset(sample.status for sample in runs),
    )


def try_out(command: Command, env: Mapping[str, str]) -> tuple[int, str]:
    """Exit code and first line of a run that isn't counted: it warms the caches, and shows what was measured."""
    try:
        done = subprocess.run(
            command.argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{command.name}: {error}") from error
    lines = done.stdout.decode(errors="replace").splitlines()
    return done.returncode, lines[0][:200] if lines else "(no output)"


def launch(argv: Sequence[str], env: Mapping[str, str], timeout: float) -> str:
    """In a process group of its own, so that a run that hangs ends with it."""
    process = subprocess.Popen(
        argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"the runs did not end within {timeout:.0f} s") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        raise BenchError(f"launch: exit {process.returncode}")
    return output


def parse(line: str) -> tuple[int, Sample]:
    index, status, wall_ns, cpu_us, rss_kb = (int(word) for word in line.split())
    return index, Sample(status, wall_ns / 1e6, cpu_us / 1e3, rss_kb * 1024 / 1e6)


def samples(launcher: Path, commands: Sequence[Command], env: Mapping[str, str], rounds: int) -> list[list[Sample]]:
    """Interleaved rounds of all commands; the runs of each, one a round, in their order."""
    argv = [str(launcher), str(rounds), str(PAUSE_US)]
    for command in commands:
        argv += ["--", str(command.every), *command.argv]
    taken: list[list[Sample]] = [[] for _ in commands]
    for line in launch(argv, env, timeout=60 + rounds * len(commands)).splitlines():
        index, sample = parse(line)
        taken[index].append(sample)
    return taken


def measure(launcher: Path, commands: Sequence[Command], env: Mapping[str, str], rounds: int) -> list[Summary]:
    """Interleaved rounds of all commands; one summary each, in their order."""
    return [summary(of_one) for of_one in samples(launcher, commands, env, rounds)]
