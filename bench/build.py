"""What the bench needs on disk: its C programs, a virtualenv, and a look into an ELF file."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent
TARGET = BENCH.parent / "target"
BUILT = TARGET / "bench"
VENV = TARGET / "bench-venv"

PT_INTERP = 3


class BenchError(Exception):
    """The bench can't go on; the text says why."""


def run_quietly(argv: list[str], timeout: float) -> None:
    """Runs a command; its output is shown only when it fails."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        raise BenchError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout.strip()}")


def compile_c(name: str) -> Path:
    """Compiles bench/NAME.c into target/bench/NAME, if the source is newer."""
    source, binary = BENCH / f"{name}.c", BUILT / name
    if binary.exists() and binary.stat().st_mtime > source.stat().st_mtime:
        return binary
    BUILT.mkdir(parents=True, exist_ok=True)
    fresh = BUILT / f"{name}.{os.getpid()}"
    run_quietly(["cc", "-O2", "-static", "-pthread", "-Wall", "-Wextra", "-o", str(fresh), str(source)], 60)
    fresh.rename(binary)
    return binary


def make_venv() -> Path:
    """The virtualenv with the clients that the scripts use; made when missing or outdated."""
    python = VENV / "bin" / "python"
    wanted, installed = BENCH / "requirements.txt", VENV / "requirements.txt"
    if installed.exists() and installed.read_bytes() == wanted.read_bytes():
        return python
    run_quietly([sys.executable, "-m", "venv", "--clear", str(VENV)], 120)
    run_quietly([str(python), "-m", "pip", "install", "--quiet", "-r", str(wanted)], 300)
    installed.write_bytes(wanted.read_bytes())
    return python


def install_wheel(python: Path) -> None:
    """The Python package, as `make wheel` has left it, into that virtualenv."""
    wheels = list((BENCH.parent / "dist").glob("ready_probe-*.whl"))
    if len(wheels) != 1:
        raise BenchError(f"{len(wheels)} wheels in dist: run make wheel first, or leave it out with --no-python-sdk")
    (wheel,) = wheels
    digest, installed = hashlib.sha256(wheel.read_bytes()).hexdigest(), VENV / "wheel.sha256"
    if installed.exists() and installed.read_text() == digest:
        return
    installed.unlink(missing_ok=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--force-reinstall"]
    run_quietly([*pip, str(wheel)], 300)
    installed.write_text(digest)


def program_headers(elf: bytes) -> tuple[str, int, int, int]:
    """Byte order, offset, size and number of the program headers."""
    if len(elf) < 64 or elf[:4] != b"\x7fELF":
        raise ValueError("not an ELF file")
    order = "<" if elf[5] == 1 else ">"
    if elf[4] == 2:
        (offset,) = struct.unpack_from(order + "Q", elf, 32)
        size, count = struct.unpack_from(order + "HH", elf, 54)
    else:
        (offset,) = struct.unpack_from(order + "I", elf, 28)
        size, count = struct.unpack_from(order + "HH", elf, 42)
    return order, offset, size, count


def linkage(path: Path) -> str:
    """`static`, `dynamic` (it names an interpreter), or why that can't be told."""
    elf = path.read_bytes()
    try:
        order, offset, size, count = program_headers(elf)
        kinds = [struct.unpack_from(order + "I", elf, offset + size * index)[0] for index in range(count)]
    except (ValueError, struct.error) as error:
        return str(error)
    return "dynamic" if PT_INTERP in kinds else "static"
