#!/usr/bin/env python3
"""What ready-keeper costs while nothing is wrong, and how soon it brings back what crashes. See README.md.

usage: python3 bench/keeper.py [--keeper PATH] [--seconds 300] [--passes 1000] [--crashes 10] [--check]
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import os
import queue
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import build
from build import BenchError
from limits import Limit, at_most, below, exit_code, print_limits
from measure import Command, Summary, measure
from program import run_program
from world import PATH, end, free_port, program

SERVICES = 20
INTERVAL_S = 30
ROUNDS = 50
MB = 1000 * 1000
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 60

# Process 1 of a namespace: it makes passes, reaps nothing else, and counts what is left.
PROCESS_1 = """
import os, subprocess, sys
for _ in range(int(sys.argv[1])):
    code = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL).returncode
    if code: sys.exit(f"a pass ended with {code}")
left = [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
print(len(left))
"""
# A service: it listens, and says so in a file.
SERVICE = """
import os, pathlib, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
pathlib.Path(sys.argv[2]).write_text(str(os.getpid()))
while True:
    server.accept()[0].close()
"""


@dataclass(frozen=True)
class Idle:
    """A loop over services that work."""

    seconds: float
    cpu_s: float
    peak_rss_mb: float

    @property
    def share(self) -> float:
        """Percent of one core."""
        return 100 * self.cpu_s / self.seconds


@dataclass(frozen=True)
class Crash:
    """One service that was killed: how long until it was noticed, and from the decision until it was verified."""

    noticed_s: float
    back_s: float
    command_s: float

    @property
    def beyond_s(self) -> float:
        """What the keeper has taken beyond the command; the services have no startup delay."""
        return self.back_s - self.command_s


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    # All services are asked at once, and whom the default of 5 turns away tries again a second later.
    request_queue_size = 128


@contextlib.contextmanager
def healthy_server() -> Iterator[int]:
    with Server(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@dataclass(frozen=True)
class Keeper:
    """The program, and a folder for its files."""

    binary: str
    folder: Path

    def argv(self, command: str, file: Path, state: str) -> list[str]:
        return [self.binary, command, "--config", str(file), "--state", str(self.folder / state),
                "--manual-stop", str(self.folder / "stopped")]  # fmt: skip

    def env(self) -> dict[str, str]:
        return {"PATH": PATH, "READY_DIR": str(self.folder / "signals")}

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o600)
        return file

    @contextlib.contextmanager
    def loop(self, file: Path, state: str) -> Iterator[Loop]:
        process = subprocess.Popen(
            self.argv("run", file, state),
            env=self.env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield Loop(process)
        finally:
            end(process)


class Loop:
    """A keeper that runs, and its lines with the times at which they came."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self.lines: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
        threading.Thread(target=self.listen, args=(process.stdout,), daemon=True).start()

    def listen(self, output: Iterable[str]) -> None:
        for line in output:
            self.lines.put((time.monotonic(), line))

    def says(self, phrase: str) -> float:
        """When a line with the phrase came; those before it are passed over."""
        until = time.monotonic() + PATIENCE_S
        seen: list[str] = []
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                at, line = self.lines.get(timeout=left)
                if phrase in line:
                    return at
                seen.append(line)
        raise BenchError(f"ready-keeper did not say {phrase!r}:\n{''.join(seen[-20:])}")


def twenty(keeper: Keeper, name: str, checks: Sequence[str]) -> Path:
    """So many services, which are asked by these in turn."""
    services = "".join(
        f'[[service]]\nname = "s{n}"\ncheck = ["{checks[n % len(checks)]}"]\nrestart = "true"\n' for n in range(SERVICES)
    )
    return keeper.write(name, f'[keeper]\ninterval = "{INTERVAL_S}s"\n{services}')


@contextlib.contextmanager
def bystander(keeper: Keeper) -> Iterator[list[str]]:
    """A process, and what finds it: whoever has started the keeper is not looked at."""
    seconds = str(1_000_000 + os.getpid())
    process = subprocess.Popen([program("sleep"), seconds], stdin=subprocess.DEVNULL)
    pidfile = keeper.write("bystander", str(process.pid))
    try:
        yield [f"process:sleep {seconds}", f"pid:{pidfile}"]
    finally:
        end(process)


def cpu_s(pid: int) -> float:
    """User and system time of a process and of its children that it has reaped."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[at]) for at in (11, 12, 13, 14)) / TICKS


def peak_rss_mb(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise BenchError(f"/proc/{pid}/status holds no VmHWM")
    return int(found[1]) * 1024 / MB


def idle(keeper: Keeper, file: Path, seconds: float) -> Idle:
    with keeper.loop(file, "idle") as loop:
        loop.says("Health check passed for s0")
        began, before = time.monotonic(), cpu_s(loop.pid)
        time.sleep(seconds)
        took, used = time.monotonic() - began, cpu_s(loop.pid) - before
        return Idle(took, used, peak_rss_mb(loop.pid))


def once(keeper: Keeper, file: Path) -> Summary:
    """Passes, the children that they reap included."""
    launcher = build.compile_c("launch")
    command = Command("once", keeper.argv("once", file, "once"))
    (cost,) = measure(launcher, [command], keeper.env(), ROUNDS)
    if cost.statuses != {0}:
        raise BenchError(f"once ended with {set(cost.statuses)}")
    print(
        f"once, {SERVICES} services: {cost.cpu_ms:.1f} ms CPU, {cost.wall_ms:.1f} ms, {cost.rss_mb:.1f} MB at most"
        f" ({cost.runs} passes)"
    )
    return cost


def scans(keeper: Keeper, file: Path) -> int:
    """How often one pass lists all processes."""
    trace = keeper.folder / "trace"
    argv = [program("strace"), "-f", "-qq", "-e", "trace=openat", "-o", str(trace), *keeper.argv("once", file, "once")]
    build.run_quietly(argv, PATIENCE_S)
    return len(re.findall(r'openat\([^,]+, "/proc/?", [^)]*O_DIRECTORY', trace.read_text()))


def left_behind(keeper: Keeper, file: Path, passes: int) -> int:
    """Processes, dead or alive, that passes leave to a process 1 that reaps nothing."""
    command = keeper.argv("once", file, "zombies")
    argv = [program("unshare"), "--fork", "--pid", "--mount-proc", sys.executable, "-c", PROCESS_1, str(passes)]
    done = subprocess.run(
        [*argv, *command], env=keeper.env(), capture_output=True, text=True, timeout=60 + passes, check=False
    )
    if done.returncode != 0:
        raise BenchError(f"passes under a process 1: exit {done.returncode}: {done.stderr.strip()[-500:]}")
    return int(done.stdout)


def crashes(keeper: Keeper, check: str, port: int, times: int) -> list[Crash]:
    """Kills a service again and again. Its interval is a second."""
    script, pid, log = (keeper.folder / name for name in (f"service-{port}.py", f"{port}.pid", f"{port}.times"))
    script.write_text(SERVICE)
    now = "cut -d' ' -f1 /proc/uptime"
    command = (
        f"{now} >> {log}; rm -f {pid}; {sys.executable} {script} {port} {pid} & "
        f"until [ -s {pid} ]; do sleep 0.01; done; {now} >> {log}"
    )
    file = keeper.write(
        f"{port}.toml",
        '[keeper]\ninterval = "1s"\n'
        f'[[service]]\nname = "svc"\ncheck = ["{check}"]\nstartup_delay = "0s"\nstartup = "10s"\n'
        f"max_restarts = 1000\nwindow = \"100h\"\nrestart = '''{command}'''\n",
    )
    subprocess.run(["sh", "-c", command], check=True)
    found = []
    try:
        with keeper.loop(file, f"crashes-{port}") as loop:
            loop.says("Health check passed for svc")
            for _ in range(times):
                # Anywhere in an interval.
                time.sleep(1 + (len(found) * 0.37) % 1)
                killed = time.monotonic()
                os.kill(int(pid.read_text()), signal.SIGKILL)
                noticed = loop.says("Health check failed for svc")
                decided = loop.says("Executing restart command for svc")
                back = loop.says("Successfully recovered svc")
                began, ended = (float(line) for line in log.read_text().split()[-2:])
                found.append(Crash(noticed - killed, back - decided, ended - began))
    finally:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(pid.read_text()), signal.SIGKILL)
    return found


def print_crashes(title: str, found: Sequence[Crash]) -> None:
    noticed = [1000 * crash.noticed_s for crash in found]
    beyond = [1000 * crash.beyond_s for crash in found]
    print(
        f"{title}: noticed after {statistics.median(noticed):.0f} ms, {max(noticed):.0f} at most; verified"
        f" {statistics.median(beyond):.0f} ms after its command, {max(beyond):.0f} at most ({len(found)} crashes)"
    )


def measure_all(keeper: Keeper, args: argparse.Namespace) -> list[Limit]:
    limits = [at_most("size", Path(keeper.binary).stat().st_size / MB, 5.5, " MB")]
    with healthy_server() as port, bystander(keeper) as processes:
        servers = [f"http://127.0.0.1:{port}/health", f"tcp://127.0.0.1:{port}"]
        file = twenty(keeper, "twenty.toml", [*servers, *processes])
        cost = once(keeper, file)
        limits.append(below(f"CPU, once on {SERVICES} services", cost.cpu_ms, 50, " ms"))
        scanned = scans(keeper, file)
        limits.append(Limit("lists of all processes, a pass", str(scanned), "1", scanned == 1))
        # In a namespace of its own it sees no process of ours.
        left = left_behind(keeper, twenty(keeper, "commands.toml", [*servers, "exec:true"]), args.passes)
        limits.append(Limit(f"left behind by {args.passes} passes", str(left), "0", left == 0))
        quiet = idle(keeper, file, args.seconds)
        print(
            f"run, {SERVICES} services every {INTERVAL_S} s: {quiet.cpu_s:.2f} s CPU in {quiet.seconds:.0f} s,"
            f" {quiet.peak_rss_mb:.1f} MB at most"
        )
        limits.append(at_most(f"CPU, run on {SERVICES} services", quiet.share, 0.3, " %"))
        # As large as a pass is the child that asks.
        limits.append(at_most("peak RSS, run and its child", quiet.peak_rss_mb + cost.rss_mb, 10, " MB"))
    for title, of in (("asked", "tcp://127.0.0.1:{port}"), ("watched", "process:service-{port}.py")):
        port = free_port()
        found = crashes(keeper, of.format(port=port), port, args.crashes)
        print_crashes(f"a crash, {title}", found)
        # What is asked every second is asked within it, and answers in milliseconds; what is watched is heard at once.
        limits.append(at_most(f"noticed, {title} every 1 s", max(crash.noticed_s for crash in found), 1.1, " s"))
        limits.append(at_most(f"verified after its command, {title}", max(crash.beyond_s for crash in found), 1, " s"))
    return limits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keeper", default=str(build.BENCH.parent / "dist" / "ready-keeper"))
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--passes", type=int, default=1000)
    parser.add_argument("--crashes", type=int, default=10)
    parser.add_argument("--check", action="store_true", help="exit 1 when a limit is broken")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ready-keeper-bench-") as folder:
        limits = measure_all(Keeper(os.path.abspath(args.keeper), Path(folder)), args)
    print_limits(limits)
    return exit_code(limits, args.check)


if __name__ == "__main__":
    sys.exit(run_program("keeper.py", main))
