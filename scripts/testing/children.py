"""The processes that run tests: from their start to the end of all that they left.

Each is a session of its own with nothing on stdin. It writes to files: whatever a test leaves running can hold
nobody up. What tests start as sessions of their own, such as the Docker engine, is not looked for.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# What make tells the makes that it starts. Tests are not among them, and a token of make's that a killed test
# held would be missed for ever.
OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKE_TERMOUT", "MAKE_TERMERR")
# How long a session may take to end by itself when it was told to.
TO_END_S = 5.0
TO_INTERRUPT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """Somebody wants all this to end."""


@dataclass(frozen=True)
class Run:
    """How a process ended, and what it and its children said."""

    status: int | None
    """None: its time was up."""
    out: str
    err: str
    seconds: float
    cpu_s: float = 0.0
    """What it and its children took of a processor, as far as they were waited for."""
    left: tuple[str, ...] = ()
    """What it left running, and has been ended."""

    @property
    def ending(self) -> str:
        if self.status is None:
            return f"not done after {self.seconds:.0f} s, and ended"
        if self.status < 0:
            return f"ended by {signal.Signals(-self.status).name}"
        return f"exit status {self.status}"

    @property
    def said(self) -> str:
        return "\n".join(part.rstrip() for part in (self.out, self.err) if part.strip())


class Children:
    """Starts processes, waits for them, and can end all of them."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._logs.mkdir(parents=True, exist_ok=True)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._sessions: set[int] = set()
        self._stopped = False

    def run(
        self,
        title: str,
        argv: list[str],
        *,
        cwd: Path,
        limit_s: float,
        env: dict[str, str] | None = None,
    ) -> Run:
        """Runs a program to its end, or to that of its time."""
        environment = {k: v for k, v in os.environ.items() if k not in OF_MAKE} | (env or {})
        log = self._logs / f"{next(self._numbers):03}-{re.sub(r'[^A-Za-z0-9._-]+', '-', title)[:80]}"
        out, err = log.with_name(log.name + ".out"), log.with_name(log.name + ".err")
        began = time.monotonic()
        with out.open("wb") as out_file, err.open("wb") as err_file, self._lock:
            if self._stopped:
                raise Interrupted
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
                start_new_session=True,
            )
            self._sessions.add(process.pid)
        status, cpu_s = wait(process, began + limit_s)
        seconds = time.monotonic() - began
        left = () if status is None else tuple(map(describe, members(process.pid)))
        end([process.pid])
        process.wait()
        with self._lock:
            self._sessions.discard(process.pid)
            if self._stopped:
                raise Interrupted
        return Run(status, read(out), read(err), seconds, cpu_s, left)

    def stop(self) -> None:
        """Ends all that was started; nothing is started any more."""
        with self._lock:
            self._stopped = True
            sessions = list(self._sessions)
        end(sessions)


def wait(process: subprocess.Popen[bytes], deadline: float) -> tuple[int | None, float]:
    """The exit status, if it ends by then, and the seconds that it took of a processor."""
    while True:
        late = time.monotonic() >= deadline
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, used.ru_utime + used.ru_stime
        if late:
            return None, 0.0
        time.sleep(0.02)


def end(sessions: list[int]) -> None:
    """Ends every process of these sessions: with SIGTERM, and later with SIGKILL."""
    deadline = time.monotonic() + TO_END_S
    told: set[int] = set()
    while alive := {pid for session in sessions for pid in members(session)}:
        late = time.monotonic() >= deadline
        for pid in alive if late else alive - told:
            try:
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            except ProcessLookupError:
                pass
        told |= alive
        time.sleep(0.02)


def members(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                # Its name may hold anything, also a parenthesis.
                fields = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            state, its_session = fields[0], int(fields[3])
            if its_session == session and state not in "ZX":
                found.append(int(entry))
    return found


def describe(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        words = []
    return f"{b' '.join(words).decode(errors='replace')[:100]} (pid {pid})"


def read(path: Path) -> str:
    return path.read_text(errors="replace")


def run_until_interrupted(children: Children, work: Callable[[], bool]) -> int:
    """Does the work, and returns the status to exit with: 0 if all is well.

    The work has a thread of its own, and only the main thread waits: no signal interrupts the start of a process.
    """
    take_signals()
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(work)
        try:
            return 0 if result.result() else 1
        except Interrupted as by:
            for number in TO_INTERRUPT:
                signal.signal(number, signal.SIG_IGN)
            children.stop()
            print(f"interrupted by {by}", file=sys.stderr)
            return 130


def take_signals() -> None:
    """SIGINT, SIGTERM and SIGHUP interrupt the main thread, unless they were ignored when this program began.

    Children of a program that ignores a signal ignore it, too, and tests send these signals. A handler is not
    inherited, so one that does nothing stands in for ignoring.
    """

    def interrupt(number: int, _frame: object) -> None:
        raise Interrupted(signal.Signals(number).name)

    for number in (*TO_INTERRUPT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)
        elif number in TO_INTERRUPT:
            signal.signal(number, interrupt)
