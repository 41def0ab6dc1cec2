#!/usr/bin/env python3
"""Packs Debian 11, whose glibc is 2.31, and a CPython that runs there: what the wheel has to bear. `make setup` runs
this once, as root; the Docker tests make an image of the archive.

The system is what debootstrap unpacks; its packages' scripts are not run, since nothing here needs what they set up.
Debian 11's own Python is older than the package supports. The interpreter of cx_Freeze stands in for it, a whole
CPython linked against glibc 2.17, with the standard library of the Python that runs this.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

FREEZE_CORE = "freeze-core==0.8.1"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
UNUSED = ["var/cache", "usr/share/doc", "usr/share/locale", "usr/share/man", "debootstrap", "proc"]
# Parts of the standard library that are large, or are not Python.
LEFT_OUT = {"__pycache__", "config", "ensurepip", "idlelib", "lib-dynload", "site-packages", "test", "tkinter"}

# That interpreter starts a module of this name; see freeze_core/initscripts/__startup__.py.
STARTED = """\
import runpy
import sys

def run(_):
    del sys.argv[0]
    if sys.argv[0] == "-c":
        exec(sys.argv.pop(1), {"__name__": "__main__"})
    elif sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
"""


def main() -> int:
    archive = Path(sys.argv[1])
    archive.parent.mkdir(parents=True, exist_ok=True)
    # In memory a /tmp may be too small.
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="debian-11-") as scratch:
        root = Path(scratch, "root")
        said = Path(scratch, "debootstrap.log")
        with said.open("w") as log:
            command = ["debootstrap", "--foreign", "--variant=minbase", "bullseye", root]
            if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode:
                print(said.read_text()[-2000:], file=sys.stderr)
                return 1
        add_python(root / "python", Path(scratch))
        packed = Path(scratch, "packed.tar")
        unused = [f"--exclude=./{path}" for path in UNUSED]
        subprocess.run(["tar", "--create", "--file", packed, "--directory", root, *unused, "."], check=True)
        packed.rename(archive)
    return 0


def add_python(folder: Path, scratch: Path) -> None:
    lib = folder / "lib"
    packages = Path(sysconfig.get_path("purelib"))
    copy(Path(sysconfig.get_path("stdlib")), lib)
    copy(packages / "pip", lib / "pip")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--platform=manylinux2014_" + machine(), "--only-binary=:all:", FREEZE_CORE], cwd=scratch, check=True)
    [wheel] = scratch.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith("freeze_core/lib/") and name.endswith(".so"):
                (lib / Path(name).name).write_bytes(archive.read(name))
            elif name.startswith("freeze_core/bases/console-cpython-"):
                (folder / "python").write_bytes(archive.read(name))
    (folder / "python").chmod(0o755)
    (lib / "__init__python.py").write_text(STARTED)


def machine() -> str:
    return sysconfig.get_platform().split("-", 1)[1]


def copy(source: Path, to: Path) -> None:
    """Without what is of no use in an image."""
    for file in source.rglob("*.py"):
        relative = file.relative_to(source)
        if not any(part in LEFT_OUT or part.startswith("config-") for part in relative.parts):
            (to / relative).parent.mkdir(parents=True, exist_ok=True)
            (to / relative).write_bytes(file.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
