"""CPU of an engine and of everything that it starts, kept apart by a cgroup from whatever else runs on the machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from build import BenchError

MOUNT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Account:
    """A cgroup, and the one below it for the engine; containers come beside that one."""

    path: str

    @property
    def folder(self) -> Path:
        return hierarchy() / self.path.lstrip("/")

    @property
    def engine(self) -> Path:
        return self.folder / "engine"

    def within(self, argv: Sequence[str]) -> list[str]:
        """The same command, which moves there before it starts."""
        return ["sh", "-c", f'echo $$ > "{self.engine}/cgroup.procs" && exec "$@"', "sh", *argv]

    def cpu_s(self) -> float:
        """Since it was made, of all that has run in it: user and system time, those of what has ended included."""
        if is_unified():
            words = (self.folder / "cpu.stat").read_text().split()
            return int(words[words.index("usage_usec") + 1]) / 1e6
        return int((self.folder / "cpuacct.usage").read_text()) / 1e9


def is_unified() -> bool:
    return (MOUNT / "cgroup.controllers").exists()


def hierarchy() -> Path:
    """Where CPU time is counted: cgroups v2, or the hierarchy of v1 that does that."""
    return MOUNT if is_unified() else MOUNT / "cpuacct"


@contextlib.contextmanager
def account() -> Iterator[Account]:
    made = Account(f"/ready-probe-bench-{os.getpid()}")
    try:
        made.engine.mkdir(parents=True)
    except OSError as error:
        raise BenchError(f"{made.engine}: no cgroup to count CPU time in: {error.strerror}") from error
    try:
        yield made
    finally:
        # Containers made it in every hierarchy of v1. What still runs in it keeps it; the engine's end has been waited for.
        for folder in (made.engine, made.folder, *MOUNT.glob(f"*{made.path}")):
            with contextlib.suppress(OSError):
                folder.rmdir()
