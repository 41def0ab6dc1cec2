#!/usr/bin/env python3
"""Holds what `make dist` has made to what it promises: the last commit, built again in another folder, gives the same
bytes; and a registry would take both crates.
"""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    if changed := output("git", "status", "--porcelain"):
        print(f"dist-check: what is built again is the last commit, without these changes:\n{changed}", file=sys.stderr)
        return 1
    subprocess.run(["make", "dist"], cwd=ROOT, check=True)
    packed()
    with tempfile.TemporaryDirectory(dir=ROOT / "target", prefix="a-folder-of-another-length-") as folder:
        again = Path(folder, "ready-probe")
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, again], check=True)
        # Of this build's settings, only where things lie on this machine is the same.
        venv = ROOT / os.environ.get("VENV", "target/venv")
        subprocess.run(["make", "dist", f"VENV={venv}"], cwd=again, check=True)
        return compared(ROOT / "dist", again / "dist")


def packed() -> None:
    """As `cargo publish` packs them; the program is compiled from its package against the SDK beside it."""
    crates = ["--package=ready-probe-sdk", "--package=ready-probe"]
    subprocess.run(["cargo", "package", "--locked", *crates], cwd=ROOT, check=True)


def compared(dist: Path, again: Path) -> int:
    names = [line.split()[1] for line in (dist / "SHA256SUMS").read_text().splitlines()]
    differing = [
        name
        for name in [*names, "SHA256SUMS", "ready-probe"]
        if not (again / name).is_file() or not filecmp.cmp(dist / name, again / name, shallow=False)
    ]
    for name in differing:
        print(f"dist-check: {name} is not what the same commit gives in another folder", file=sys.stderr)
    print(f"dist-check: {len(names) + 2} files compared, {len(differing)} differ")
    return 1 if differing else 0


def output(*command: str) -> str:
    return subprocess.check_output(command, cwd=ROOT, text=True)


if __name__ == "__main__":
    sys.exit(main())
