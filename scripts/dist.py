#!/usr/bin/env python3
"""Makes what is handed out from what lies in dist/: the archive with the probe and all that belongs to it, and the
sums of archive and wheel. `make dist` builds the rest. The same commit gives the same bytes.

`dist.py TARGET PAGES FOLDER`: PAGES is the program that writes man pages and completions, FOLDER gets the files.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import inside

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"


def main() -> int:
    target, pages_program, folder = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3])
    time = int(os.environ["SOURCE_DATE_EPOCH"])
    crates = inside.crates(target, "ready-probe")
    version = crates[0].version
    name = f"ready-probe-{version}-{target.split('-')[0]}-linux"
    files = {
        "ready-probe": (DIST / "ready-probe").read_bytes(),
        "LICENSE-APACHE": (ROOT / "LICENSE-APACHE").read_bytes(),
        "LICENSE-MIT": (ROOT / "LICENSE-MIT").read_bytes(),
        "THIRD-PARTY-LICENSES": inside.licences(crates).encode(),
        "ready-probe.cdx.json": inside.cyclonedx(crates, time).encode(),
        **pages(pages_program),
    }
    for old in folder.glob("ready-probe-*.tar.gz"):
        old.unlink()
    archive = folder / f"{name}.tar.gz"
    archive.write_bytes(packed(name, files, time))
    [built] = DIST.glob("*.whl")
    wheel = folder / built.name
    if folder.resolve() != DIST:
        shutil.copy(built, wheel)
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in (archive, wheel)]
    (folder / "SHA256SUMS").write_text("".join(sums))
    print(f"{archive}: {len(files)} files, {archive.stat().st_size} bytes")
    return 0


def pages(program: Path) -> dict[str, bytes]:
    """Man pages and completions, written by the program that knows the definition of the command line."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([program, folder], check=True)
        files = [file for file in Path(folder).rglob("*") if file.is_file()]
        return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def packed(name: str, files: dict[str, bytes], time: int) -> bytes:
    """In the order of the names, of the time of the commit, of nobody in particular."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        folders = {str(parent) for file in files for parent in Path(name, file).parents} - {"."}
        for path in sorted(folders | {f"{name}/{file}" for file in files}):
            entry = tarfile.TarInfo(path)
            entry.mtime = time
            if path in folders:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
                continue
            content = files[path.removeprefix(f"{name}/")]
            entry.size, entry.mode = len(content), 0o755 if path == f"{name}/ready-probe" else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(tar.getvalue(), mtime=0)


if __name__ == "__main__":
    sys.exit(main())
