#!/usr/bin/env python3
"""Agents die, hang, stop and come back at random under probes that hold their answers, on a real Docker engine.

Beside it stands an oracle that knows what was true when: the engine's status must never say what was not, and must
say what is within one interval and half a second. When all has ended, nothing of it may be left.

usage: python3 bench/health_chaos.py [--seconds S] [--containers N] [--seed SEED] [--spare S]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import random
import shlex
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from build import BenchError
from engine import STATUS, Container, Engine, Event, Events, command_line, engine, events, read
from measure import percentile
from oracle import ANYTHING, HEALTHY, NONE, STARTING, UNHEALTHY, Status, Truth, Verdict, all_of, judge, overlaid
from program import run_program
from subject import HELD, LIMIT_S, PROBE, image, tell
from together import together
from world import start_time

WAY = HELD[0]
PORTS = {"alpha": 5555, "beta": 5556}
TTL_S, BEAT_S, WATCHDOG_S = 4.0, 0.5, 1.0
# A beat comes up to a fifth earlier or later.
LONGEST_BEAT_S = BEAT_S * 1.2
# How long a probe may live whose engine has stopped waiting for it: 20.10 does not end what it has given up.
LEFT_ALONE_S = WAY.hold_s + 10

GOOD, BAD, EITHER = frozenset({HEALTHY}), frozenset({UNHEALTHY}), frozenset({HEALTHY, UNHEALTHY})


@dataclass
class Patient:
    """An agent, and what is known of it."""

    name: str
    truths: list[Truth] = field(default_factory=list)
    alive: bool = True
    ready: bool = True

    @property
    def now(self) -> frozenset[str]:
        return GOOD if self.alive and self.ready else BAD

    def turns(self, begin: float, end: float) -> None:
        """What is known of it holds from `end` on; since `begin` it may have held already."""
        self.truths += [Truth(begin, EITHER), Truth(end, self.now)]


class Ward:
    """A container with its agents, what is done to them, and what the engine says meanwhile."""

    def __init__(self, container: Container, heard: Events, seed: str, spare_s: float) -> None:
        self.container = container
        self.heard = heard
        self.random = random.Random(seed)
        self.allowed_s = WAY.interval_s + spare_s
        self.patients = [Patient(name) for name in PORTS]
        self.hidden: list[tuple[float, float, frozenset[str]]] = []
        self.done: list[tuple[float, str]] = []
        self.reported = 0
        self.problems: list[str] = []

    def live(self, end: float) -> None:
        self.begin()
        while time.monotonic() < end:
            action = self.choose()
            action()
            self.rest()
            self.look()
        for patient in self.patients:
            self.mend(patient)
        time.sleep(self.allowed_s + 0.5)
        self.look()

    def begin(self) -> None:
        start = time.monotonic()
        self.address = self.container.address
        for patient in self.patients:
            self.confirm(patient)
            patient.turns(start, time.monotonic())
        # The engine's first check comes an interval after the start.
        self.hidden.append((start - LIMIT_S, time.monotonic(), ANYTHING))

    def rest(self) -> None:
        shortest, longest = self.random.choice([(0.05, 1.0), (0.5, 3.0), (1.5, 6.0), (1.5, 6.0), (20.0, 30.0)])
        time.sleep(self.random.uniform(shortest, longest))

    def choose(self) -> Callable[[], None]:
        patient = self.random.choice(self.patients)
        if self.random.random() < 0.15:
            return self.random.choice([self.pause, self.pause, self.restart])
        if not (patient.alive and patient.ready) and self.random.random() < 0.6:
            return lambda: self.mend(patient)
        if not patient.alive:
            return lambda: self.start(patient)
        harm = [self.mark_not_ready, self.mark_ready, self.kill, self.hang, self.stop]
        act = self.random.choice(harm)
        return lambda: act(patient)

    def say(self, what: str) -> None:
        self.done.append((time.monotonic(), what))

    def tell(self, patient: Patient, *lines: str) -> tuple[float, list[tuple[float, str]]]:
        return tell(self.address, PORTS[patient.name], lines)

    def confirm(self, patient: Patient) -> float:
        """When it has answered: it takes jobs once it has marked itself ready."""
        _, answers = self.tell(patient, "translate word")
        return answers[-1][0]

    def process(self, patient: Patient) -> int:
        mine = f"AGENT_NAME={patient.name}"
        for pid in self.container.processes():
            if command_line(pid) == "/rust-agent " and mine in read(f"/proc/{pid}/environ").split("\0"):
                return pid
        raise BenchError(f"{patient.name} has gone by itself: {self.done[-5:]}")

    def mend(self, patient: Patient) -> None:
        if not patient.alive:
            self.start(patient)
        elif not patient.ready:
            self.mark_ready(patient)

    def mark_not_ready(self, patient: Patient) -> None:
        self.say(f"{patient.name}: mark_not_ready")
        begin, answers = self.tell(patient, "reload chaos")
        patient.ready = False
        patient.turns(begin, answers[-1][0])

    def mark_ready(self, patient: Patient) -> None:
        self.say(f"{patient.name}: mark_ready")
        begin, answers = self.tell(patient, "resume")
        patient.ready = True
        patient.turns(begin, answers[-1][0])

    def kill(self, patient: Patient) -> None:
        self.say(f"{patient.name}: kill -9")
        pid, begin = self.process(patient), time.monotonic()
        started = start_time(pid)
        os.kill(pid, signal.SIGKILL)
        while start_time(pid) == started and " Z " not in read(f"/proc/{pid}/stat"):
            time.sleep(0.001)
        patient.alive = False
        patient.turns(begin, time.monotonic())

    def start(self, patient: Patient) -> None:
        load_s = self.random.choice([0.0, self.random.uniform(0, 3)])
        self.say(f"{patient.name}: started, loads for {load_s:.1f} s")
        begin = time.monotonic() + load_s
        env = [f"--env=AGENT_NAME={patient.name}", f"--env=AGENT_PORT={PORTS[patient.name]}"]
        load = f"--env=AGENT_LOAD={int(load_s * 1000)}ms"
        self.container.engine.run("exec", "--detach", *env, load, self.container.id, "/rust-agent")
        patient.alive, patient.ready = True, True
        patient.turns(begin, max(begin, self.confirm(patient)))

    def hang(self, patient: Patient) -> None:
        hang_s = self.random.uniform(0.2, 5 * WATCHDOG_S)
        self.say(f"{patient.name}: hangs for {hang_s:.1f} s")
        begin, answers = self.tell(patient, "translate word", f"hang {int(hang_s * 1000)}ms", "translate word")
        hung, back = answers[1][0], answers[2][0]
        if patient.ready and begin + WATCHDOG_S < back:
            expired = hung + WATCHDOG_S
            patient.truths.append(Truth(begin + WATCHDOG_S, EITHER))
            if expired < begin + hang_s:
                patient.truths += [Truth(expired, BAD), Truth(begin + hang_s, EITHER)]
            patient.truths.append(Truth(back, patient.now))

    def stop(self, patient: Patient) -> None:
        """Its beats stop, and its signal expires."""
        stop_s = self.random.uniform(0.2, 2 * TTL_S)
        self.say(f"{patient.name}: stopped for {stop_s:.1f} s")
        pid, begin = self.process(patient), time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        time.sleep(stop_s)
        resumed = time.monotonic()
        os.kill(pid, signal.SIGCONT)
        back = self.confirm(patient)
        earliest, latest = begin - LONGEST_BEAT_S + TTL_S, stopped + TTL_S
        if patient.ready and earliest < back:
            patient.truths.append(Truth(earliest, EITHER))
            if latest < resumed:
                patient.truths += [Truth(latest, BAD), Truth(resumed, EITHER)]
            patient.truths.append(Truth(back, patient.now))

    def pause(self) -> None:
        """The engine makes it unhealthy by itself, and asks again an interval after the end."""
        pause_s = self.random.choice([self.random.uniform(0.1, 2), self.random.uniform(2, 8)])
        self.say(f"paused for {pause_s:.1f} s")
        begin = time.monotonic()
        self.container.engine.run("pause", self.container.id)
        paused = time.monotonic()
        time.sleep(pause_s)
        resumed = time.monotonic()
        self.container.engine.run("unpause", self.container.id)
        for patient in self.patients:
            if patient.alive:
                self.confirm(patient)
        self.hidden += [(begin, paused, EITHER), (paused, resumed, BAD), (resumed, time.monotonic(), EITHER)]

    def restart(self) -> None:
        self.say("container restarted")
        before = {pid: start_time(pid) for pid in self.container.processes()}
        begin = time.monotonic()
        self.container.engine.run("restart", "--time=2", self.container.id)
        left = {pid: command_line(pid) for pid, started in before.items() if started and start_time(pid) == started}
        if left:
            self.problems.append(f"left behind by a restart: {left}")
        self.address = self.container.address
        for patient in self.patients:
            self.confirm(patient)
            patient.alive, patient.ready = True, True
            patient.turns(begin, time.monotonic())
        self.hidden.append((begin, time.monotonic(), ANYTHING))

    def statuses(self) -> list[Status]:
        said = [(event.at, status_of(event)) for event in self.heard.of(self.container.id)]
        return [Status(at, status) for at, status in said if status]

    def verdict(self, end: float) -> Verdict:
        truths = overlaid(all_of([patient.truths for patient in self.patients]), self.hidden)
        return judge(truths, self.statuses(), end, self.allowed_s)

    def look(self) -> None:
        """While what the probe remembers is still there."""
        # What the engine says now is heard in a moment.
        found = self.verdict(time.monotonic() - 0.2)
        if len(found.wrong) + len(found.late) > self.reported:
            self.reported = len(found.wrong) + len(found.late)
            print(f"\n{self.container.id[:12]}: {[*found.wrong, *found.late][-1]}\n{self.evidence()}", file=sys.stderr)

    def evidence(self) -> str:
        now = time.monotonic()
        actions = [f"  {at - now:8.2f} {what}" for at, what in self.done[-6:]]
        said = [f"  {event.at - now:8.2f} {event.action}" for event in self.heard.of(self.container.id)[-16:]]
        memory = [f"  {file}: {file.read_text(errors='replace')}" for file in self.memory()]
        checks = json.dumps(self.container.health(), indent=1)
        lines = ["at, and before (s):", f"  now {now:.2f}", *actions, "events:", *said, "memory:", *memory, checks]
        return "\n".join(lines)

    def memory(self) -> Iterator[Path]:
        """What the probe remembers; the agents' records lie beside it."""
        for pid in self.container.processes()[:1]:
            folder = Path(f"/proc/{pid}/root/dev/shm/ready-probe")
            with contextlib.suppress(OSError):
                yield from [file for file in folder.glob(".*/*") if file.is_file()]

    def end(self) -> None:
        """Nothing of the container may outlive it; nor may a probe live on whose engine asks no more."""
        truth, said = self.statuses()[-1].says, self.container.health()["Status"]
        if truth != said:
            self.problems.append(f"the engine's status is {said}, its events said {truth}")
        deadline = time.monotonic() + LEFT_ALONE_S
        while len(probes := self.container.processes_of(PROBE)) > 1:
            if time.monotonic() > deadline:
                self.problems.append(f"{len(probes)} probes run: {[command_line(pid) for pid in probes]}")
                break
            time.sleep(0.2)
        before = {pid: start_time(pid) for pid in self.container.processes()}
        self.container.engine.run("stop", "--time=2", self.container.id)
        left = {pid: command_line(pid) for pid, started in before.items() if started and start_time(pid) == started}
        if left or self.container.processes():
            self.problems.append(f"left behind: {left or self.container.processes()}")
        execs = self.container.inspect("{{json .ExecIDs}}")
        if execs not in ("null", "[]"):
            self.problems.append(f"execs left behind: {execs}")


def status_of(event: Event) -> str | None:
    """What the engine's status is from this event on; some change it without saying so."""
    if event.action.startswith(STATUS):
        return event.action.removeprefix(STATUS)
    return {"start": STARTING, "pause": UNHEALTHY, "die": NONE}.get(event.action)


def ward(running: Engine, heard: Events, tag: str, number: int, options: argparse.Namespace) -> Ward:
    # Every other one finds its agents by itself.
    named = [f"--env=READY_AGENT={','.join(PORTS)}"] if number % 2 == 0 else []
    env = [f"--env=AGENT_TTL={int(TTL_S)}s", f"--env=AGENT_WATCHDOG={int(WATCHDOG_S * 1000)}ms"]
    env.append(f"--env=AGENT_HEARTBEAT={int(BEAT_S * 1000)}ms")
    return Ward(running.start(tag, *env, *named), heard, f"{options.seed} {number}", options.spare)


def chaos(options: argparse.Namespace) -> int:
    repeat = ["python3", "bench/health_chaos.py", f"--seconds={options.seconds}", f"--seed={options.seed}"]
    print(f"command: {shlex.join([*repeat, f'--containers={options.containers}', f'--spare={options.spare:g}'])}")
    with engine() as running:
        return chaos_on(running, options)


def chaos_on(running: Engine, options: argparse.Namespace) -> int:
    supervised = [f"{name}={port}" for name, port in PORTS.items()]
    tag = image(running, WAY, command=["/rust-agent", "supervise", *supervised])
    with events(running) as heard:
        wards = [ward(running, heard, tag, number, options) for number in range(options.containers)]
        end = time.monotonic() + options.seconds
        together([functools.partial(one.live, end) for one in wards])
        over = time.monotonic()
        together([one.end for one in wards])
        return account(wards, over)


def account(wards: list[Ward], over: float) -> int:
    verdicts = [one.verdict(over) for one in wards]
    wrong = sum(len(verdict.wrong) for verdict in verdicts)
    late = sum(len(verdict.late) for verdict in verdicts)
    followed = [delay for verdict in verdicts for delay in verdict.followed_s] or [0.0]
    problems = [f"{one.container.id[:12]}: {problem}" for one in wards for problem in one.problems]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(
        f"{sum(len(one.done) for one in wards)} actions, {sum(len(one.statuses()) for one in wards)} statuses;"
        f" {wrong} wrong, {late} later than {wards[0].allowed_s:.1f} s, {len(problems)} problems of what was left;"
        f" followed after {statistics.median(followed) * 1000:.0f} ms (median), {percentile(followed, 0.95) * 1000:.0f} ms (p95),"
        f" {max(followed) * 1000:.0f} ms (worst)"
    )
    return 1 if wrong or late or problems else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Agents die, hang, stop and come back under probes that hold their answers."
    )
    parser.add_argument("--seconds", type=int, default=300, help="how long (default: 300)")
    parser.add_argument("--containers", type=int, default=4, help="how many at once (default: 4)")
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(10**9)), help="of what is done, and when")
    parser.add_argument("--spare", type=float, default=0.5, help="seconds beyond an interval (default: 0.5)")
    options = parser.parse_args()
    if options.seconds < 1 or options.containers < 1:
        parser.error("--seconds and --containers: at least 1")
    return options


if __name__ == "__main__":
    given = arguments()
    sys.exit(run_program("chaos", lambda: chaos(given)))
