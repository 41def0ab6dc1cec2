"""What the Python package costs, beside the same job written with redis-py and a thread.

Drives agents of both kinds, python_agent.py, against servers of its own. What they are held to is in run.py.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from build import BENCH, BenchError
from measure import Command, Sample, percentile, samples, try_out
from world import PATH, end, redis_process

NAME = "bench"
# Importing redis-py takes so long that it is measured in every tenth round only.
REDIS_PY_EVERY = 10
MARK_TTL_S = 60
MARKS, MARK_ROUNDS = 20, 25
# Where each call may wait for a timeout.
SLOW_MARKS = 3
TTL_S, WATCHDOG_S, HOLD_S = 3, 2, 8
BEAT_MS = TTL_S * 1000 / 6
POLL_S = 0.002
PATIENCE_S = 60


@dataclass(frozen=True)
class Import:
    """A process that imports it and ends."""

    name: str
    runs: int
    wall_ms: float
    beyond_ms: float
    beyond_p90_ms: float
    rss_mb: float


@dataclass(frozen=True)
class Marking:
    """Calls of mark_agent_ready, but for the first one, which registers the agent."""

    name: str
    store: str
    first_ms: float
    ms: list[float]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.ms)


@dataclass(frozen=True)
class Beating:
    """The beats that are seen in one place while the process holds the GIL."""

    name: str
    place: str
    seen: int
    gap_ms: float
    gone_ms: float
    stalled_ms: float | None

    @property
    def ratio(self) -> float:
        return self.gap_ms / BEAT_MS


@dataclass(frozen=True)
class Costs:
    imports: list[Import]
    markings: list[Marking]
    beatings: list[Beating]


def imports(python: Path, launcher: Path, env: Mapping[str, str], rounds: int) -> list[Import]:
    """Each run is compared with the bare interpreter's of the same round."""
    commands = [
        Command("bare interpreter", [str(python), "-c", "pass"]),
        Command("import ready_probe", [str(python), "-c", "import ready_probe"]),
        Command("import redis, threading", [str(python), "-c", "import redis, threading"], every=REDIS_PY_EVERY),
    ]
    for command in commands:
        code, said = try_out(command, env)
        if code != 0:
            raise BenchError(f"{command.name}: exit {code}: {said}")
    taken = samples(launcher, commands, env, rounds)
    for command, runs in zip(commands, taken, strict=True):
        if any(run.status != 0 for run in runs):
            raise BenchError(f"{command.name}: not all runs ended well")
    return [imported(command, runs, taken[0]) for command, runs in zip(commands, taken, strict=True)]


def imported(command: Command, runs: list[Sample], bare: list[Sample]) -> Import:
    beyond = [run.wall_ms - least.wall_ms for run, least in zip(runs, bare[:: command.every], strict=True)]
    return Import(
        command.name,
        len(runs),
        statistics.median(run.wall_ms for run in runs),
        statistics.median(beyond),
        percentile(beyond, 0.9),
        max(run.rss_mb for run in runs),
    )


class Agent:
    """A process of python_agent.py."""

    def __init__(self, argv: list[str], env: Mapping[str, str], log: Path) -> None:
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1
            )
        self.name = " ".join(argv[1:])
        self.log = log
        if self.heard() != "up":
            raise BenchError(f"{argv}: not up within {PATIENCE_S} s")

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")

    def heard(self, seconds: float = PATIENCE_S) -> str | None:
        """The line that it prints within so long."""
        assert self.process.stdout
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return None
        line = self.process.stdout.readline()
        if not line:
            raise BenchError(f"{self.name}: ended\n{self.log.read_text(errors='replace')[-1000:]}")
        return line.strip()

    def mark(self, count: int) -> list[float]:
        """What each of so many calls took, in ms."""
        self.tell(f"mark {count}")
        line = self.heard()
        if line is None:
            raise BenchError(f"{count} marks took longer than {PATIENCE_S} s")
        return [int(word) / 1e6 for word in line.split()]

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        if self.process.returncode is None:
            end(self.process)
        self.process.stdout.close()


@dataclass(frozen=True)
class Stage:
    """Where agents of both kinds run."""

    python: Path
    scratch: Path

    @property
    def signals(self) -> Path:
        return self.scratch / "signals"

    @contextlib.contextmanager
    def agent(self, kind: str, store: str | None, ttl_s: float, watchdog_s: float | None = None) -> Iterator[Agent]:
        argv = [str(self.python), str(BENCH / "python_agent.py"), kind, NAME, str(ttl_s)]
        argv += [] if watchdog_s is None else [str(watchdog_s)]
        env = {"PATH": PATH, "READY_DIR": str(self.signals)}
        env |= {} if store is None else {"READY_STORE": store}
        agent = Agent(argv, env, self.scratch / "agent.log")
        try:
            yield agent
        finally:
            agent.close()


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """Taken, so that nobody else listens there, and not listened at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@contextlib.contextmanager
def paused(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """The kernel still takes connections and data; nothing answers."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def markings(stage: Stage) -> list[Marking]:
    with contextlib.ExitStack() as stack:
        port, server = stack.enter_context(redis_process(stage.scratch))
        up, refusing = f"redis://127.0.0.1:{port}", f"redis://127.0.0.1:{stack.enter_context(refusing_port())}"
        agents = [
            ("ready_probe", "none", None),
            ("ready_probe", "Redis", up),
            ("redis_thread", "Redis", up),
            ("ready_probe", "refuses", refusing),
            ("redis_thread", "refuses", refusing),
        ]
        running = [
            (kind, state, stack.enter_context(stage.agent(kind, store, MARK_TTL_S))) for kind, state, store in agents
        ]
        done = in_turns(running, MARKS)
        # Both are connected when it stops to answer.
        hung = [(kind, "hangs", agent) for kind, state, agent in running if state == "Redis"]
        with paused(server):
            first = {kind: agent.mark(1)[0] for kind, _, agent in hung}
            ours, theirs = hung
            done += in_turns([ours], MARKS, first[ours[0]])
            done += [Marking(theirs[0], "hangs", first[theirs[0]], theirs[2].mark(SLOW_MARKS))]
    return done


def in_turns(running: list[tuple[str, str, Agent]], count: int, first: float | None = None) -> list[Marking]:
    """Agents take turns, so that whatever else runs disturbs them alike."""
    firsts = [agent.mark(1)[0] if first is None else first for _, _, agent in running]
    taken: list[list[float]] = [[] for _ in running]
    for _ in range(MARK_ROUNDS):
        for (_, _, agent), ms in zip(running, taken, strict=True):
            ms += agent.mark(count)
    return [
        Marking(kind, state, first_ms, ms)
        for (kind, state, _), first_ms, ms in zip(running, firsts, taken, strict=True)
    ]


@dataclass(frozen=True)
class Seen:
    """A record, and what is another at every beat."""

    beat: object
    record: Mapping[str, object]


class Watch:
    """What is seen of an agent in one place."""

    def __init__(self, place: str, look: Callable[[], Seen | None]) -> None:
        self.place = place
        self.look = look
        self.last: object = None
        self.beats: list[float] = []
        self.gone_s = 0.0
        self.stalled_at: float | None = None
        self.looked = time.monotonic()

    def again(self) -> None:
        seen, now = self.look(), time.monotonic()
        if seen is None:
            self.gone_s += now - self.looked
        elif seen.beat != self.last:
            self.last = seen.beat
            self.beats.append(now)
            if str(seen.record.get("reason")).startswith("stalled: ") and self.stalled_at is None:
                self.stalled_at = now
        self.looked = now

    def sum_up(self, name: str, begin: float, finish: float) -> Beating:
        gaps = [later - earlier for earlier, later in zip(self.beats, [*self.beats[1:], finish], strict=True)]
        stalled_ms = None if self.stalled_at is None else (self.stalled_at - begin) * 1000
        seen = sum(begin <= at <= finish for at in self.beats)
        return Beating(name, self.place, seen, max(gaps) * 1000, self.gone_s * 1000, stalled_ms)


class Reader:
    """Reads records back from Redis. Without a client, which would take more than all the rest."""

    def __init__(self, port: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.replies = self.connection.makefile("rb")

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.replies.close()
        self.connection.close()

    def look(self, key: str) -> Seen | None:
        """A beat sets the key anew, also with the same record; it then expires at another time."""
        self.connection.sendall(f"GET {key}\r\nPEXPIRETIME {key}\r\n".encode())
        length = int(self.replies.readline().removeprefix(b"$"))
        record = None if length < 0 else self.replies.read(length + 2)
        expires = int(self.replies.readline().removeprefix(b":"))
        return None if record is None else Seen(expires, json.loads(record))


def local_record(signals: Path) -> Seen:
    (file,) = (signals / NAME).glob("*.json")
    record: dict[str, object] = json.loads(file.read_text())
    return Seen(record["seq"], record)


def beatings(stage: Stage, kind: str) -> list[Beating]:
    """The beats of an agent, from before it holds the GIL until it has given it up."""
    ours = kind == "ready_probe"
    with contextlib.ExitStack() as stack:
        port, _ = stack.enter_context(redis_process(stage.scratch))
        watchdog_s = WATCHDOG_S if ours else None
        agent = stack.enter_context(stage.agent(kind, f"redis://127.0.0.1:{port}", TTL_S, watchdog_s))
        agent.mark(1)
        reader = stack.enter_context(Reader(port))
        key = f"ready:default:{{{NAME}}}:{local_record(stage.signals).record['instance']}" if ours else f"agent:{NAME}"
        deadline = time.monotonic() + PATIENCE_S
        while reader.look(key) is None:
            if time.monotonic() > deadline:
                raise BenchError(f"{kind}: its record never comes to Redis")
            time.sleep(POLL_S)
        watches = [Watch("Redis", lambda: reader.look(key))]
        if ours:
            watches.insert(0, Watch("local record", lambda: local_record(stage.signals)))
        agent.mark(1)
        agent.tell(f"hold {HOLD_S}")
        begin = watch_until(agent, "holding", watches)
        finish = watch_until(agent, "held", watches)
        return [watch.sum_up(kind, begin, finish) for watch in watches]


def watch_until(agent: Agent, wanted: str, watches: list[Watch]) -> float:
    """Looks again and again until the agent says so; when that was."""
    deadline = time.monotonic() + PATIENCE_S
    while (line := agent.heard(POLL_S)) is None:
        if time.monotonic() > deadline:
            raise BenchError(f"{agent.name}: never {wanted}")
        for watch in watches:
            watch.again()
    if line != wanted:
        raise BenchError(f"{agent.name}: {line}, not {wanted}")
    return time.monotonic()


def measure_python_sdk(python: Path, launcher: Path, env: Mapping[str, str], rounds: int) -> Costs:
    with tempfile.TemporaryDirectory(prefix="ready-probe-bench-", dir="/dev/shm") as scratch:
        stage = Stage(python, Path(scratch))
        return Costs(
            imports(python, launcher, env, rounds),
            markings(stage),
            [beating for kind in ("ready_probe", "redis_thread") for beating in beatings(stage, kind)],
        )


def print_python_sdk(costs: Costs) -> None:
    print_imports(costs.imports)
    print_markings(costs.markings)
    print_beatings(costs.beatings)


def print_imports(imports: list[Import]) -> None:
    title = "python: import"
    print(
        f"\n{title:<26} {'runs':>5} {'median ms':>10} {'beyond bare':>12} {'its p90':>8} {'/ ours':>7} {'peak RSS MB':>12}"
    )
    _, ours, _ = imports
    for one in imports:
        print(
            f"  {one.name:<24} {one.runs:>5} {one.wall_ms:>10.2f} {one.beyond_ms:>12.2f} {one.beyond_p90_ms:>8.2f}"
            f" {one.beyond_ms / ours.beyond_ms:>7.1f} {one.rss_mb:>12.2f}"
        )


def print_markings(markings: list[Marking]) -> None:
    title = "python: mark_agent_ready"
    print(
        f"\n{title:<26} {'store':>8} {'calls':>6} {'median ms':>10} {'p90 ms':>9} {'max ms':>9} {'first ms':>9} {'/ ours':>9}"
    )
    ours = {mark.store: mark.median_ms for mark in markings if mark.name == "ready_probe"}
    for mark in markings:
        print(
            f"  {mark.name:<24} {mark.store:>8} {len(mark.ms):>6} {mark.median_ms:>10.3f}"
            f" {percentile(mark.ms, 0.9):>9.3f} {max(mark.ms):>9.2f} {mark.first_ms:>9.2f}"
            f" {mark.median_ms / ours[mark.store]:>9.1f}"
        )


def print_beatings(beatings: list[Beating]) -> None:
    title = f"python: GIL held {HOLD_S} s"
    print(f"\n{title:<26} {'beats in':>12} {'beats':>6} {'largest gap ms':>15} {'/ beat':>7} {'gone ms':>8}  watchdog")
    for beat in beatings:
        said = "never" if beat.stalled_ms is None else f"stalled after {beat.stalled_ms:.0f} ms"
        print(
            f"  {beat.name:<24} {beat.place:>12} {beat.seen:>6} {beat.gap_ms:>15.0f} {beat.ratio:>7.2f}"
            f" {beat.gone_ms:>8.0f}  {said}"
        )
