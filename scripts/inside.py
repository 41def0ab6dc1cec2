"""What programs of this workspace are made of: their crates, with licences and sums, and what no Cargo.lock names,
Rust's standard library and glibc. Says it as a list in CycloneDX's format, and as the text of all licences.

`inside.py TARGET LIST LICENCES PACKAGE…` writes both files.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
LICENCE_FILE = re.compile(r"(?i)(licen[cs]e|copying|notice|unlicense|copyright)")
LGPL = Path("/usr/share/common-licenses/LGPL-2.1")


@dataclass
class Part:
    name: str
    version: str
    licence: str
    url: str
    purl: str
    sha256: str | None = None
    folder: Path | None = None
    needs: list[str] = field(default_factory=list)


def crates(target: str, *programs: str) -> list[Part]:
    """The programs themselves, then all that is linked into them, by name. Build scripts and macros are not in them."""
    tree = output(
        "cargo", "tree", "--locked", *(f"--package={program}" for program in programs),
        "--edges=normal,no-proc-macro", f"--target={target}", "--prefix=none", "--format={p}",
    )  # fmt: skip
    linked = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    sums = {(package["name"], package["version"]): package.get("checksum") for package in lock}
    metadata = json.loads(
        output("cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={target}")
    )
    packages = {package["id"]: package for package in metadata["packages"]}
    parts = {}
    for node in metadata["resolve"]["nodes"]:
        package = packages[node["id"]]
        if (package["name"], f"v{package['version']}") in linked:
            parts[node["id"]] = part(package, sums)
    for node in metadata["resolve"]["nodes"]:
        if node["id"] in parts:
            parts[node["id"]].needs = sorted(parts[id].purl for id in node["dependencies"] if id in parts)
    if len(parts) != len(linked):
        raise SystemExit(f"inside: cargo tree names {len(linked)} crates, cargo metadata {len(parts)} of them")
    order = {program: place for place, program in enumerate(programs)}
    found = sorted(parts.values(), key=lambda part: (order.get(part.name, len(order)), part.name, part.version))
    return [*found, *beneath(target)]


def part(package: dict, sums: dict) -> Part:
    name, version = package["name"], package["version"]
    return Part(
        name=name,
        version=version,
        licence=(package["license"] or "").replace("/", " OR "),
        url=package["repository"] or f"https://crates.io/crates/{name}",
        purl=f"pkg:cargo/{name}@{quote(version)}",
        sha256=sums[name, version],
        folder=Path(package["manifest_path"]).parent if package["source"] else None,
    )


def beneath(target: str) -> list[Part]:
    """What every static program of this toolchain holds."""
    rust = re.search(r"release: (\S+)", output("rustc", "-vV"))[1]
    parts = [
        Part("rust-std", rust, "MIT OR Apache-2.0", "https://github.com/rust-lang/rust", f"pkg:generic/rust-std@{rust}")
    ]
    if target.endswith("-gnu"):
        glibc = os.confstr("CS_GNU_LIBC_VERSION").split()[1]
        url = "https://sourceware.org/glibc/"
        parts.append(Part("glibc", glibc, "LGPL-2.1-or-later", url, f"pkg:generic/glibc@{glibc}"))
    return parts


def cyclonedx(parts: list[Part], time: int) -> str:
    """https://cyclonedx.org/docs/1.5/json/"""
    program, *others = parts
    return json.dumps(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "timestamp": datetime.fromtimestamp(time, timezone.utc).isoformat().replace("+00:00", "Z"),
                "component": component(program, "application"),
            },
            "components": [component(part, "library") for part in others],
            "dependencies": [{"ref": part.purl, "dependsOn": part.needs} for part in parts],
        },
        indent=1,
    ) + "\n"


def component(part: Part, kind: str) -> dict:
    return {
        "type": kind,
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        **({"hashes": [{"alg": "SHA-256", "content": part.sha256}]} if part.sha256 else {}),
        "licenses": [{"expression": part.licence}],
        "purl": part.purl,
        "externalReferences": [{"type": "vcs", "url": part.url}],
    }


def licences(parts: list[Part]) -> str:
    """Each text once, below the names of those that come with it."""
    rows = [f"{part.name} {part.version}: {part.licence}, {part.url}" for part in parts if part.purl.startswith("pkg:generic") or part.folder]
    holders: dict[str, list[str]] = {}
    for part in parts:
        if part.folder is None:
            continue
        texts = sorted(file for file in part.folder.iterdir() if file.is_file() and LICENCE_FILE.match(file.name))
        if not texts and "Apache-2.0" in re.split(r"[ ()]+", part.licence):
            # Nothing in that text is the licensor's own.
            texts = [ROOT / "LICENSE-APACHE"]
        if not texts:
            raise SystemExit(f"inside: {part.name} comes without the text of its licence, {part.licence}")
        for file in texts:
            text = file.read_text(errors="replace").strip("\n")
            holders.setdefault(text, []).append(f"{part.name} {part.version}, {file.name}")
    if LGPL.is_file() and any(part.name == "glibc" for part in parts):
        holders[LGPL.read_text().strip("\n")] = ["glibc"]
    line = "-" * 80
    texts = [f"{line}\n{chr(10).join(names)}\n{line}\n\n{text}\n" for text, names in holders.items()]
    return "\n".join([INTRODUCTION, *rows, "", *texts])


INTRODUCTION = """\
What ready-probe is made of, besides itself, and under which licences.

Rust's standard library is used under Apache-2.0: LICENSE-APACHE is its text. The GNU C Library is linked statically,
under the LGPL: ready-probe's repository has the sources of the whole program, and `make probe` there links it with the
C library of your own system.
"""


def output(*command: str) -> str:
    return subprocess.check_output(command, cwd=ROOT, text=True)


if __name__ == "__main__":
    target, listed, texts, *programs = sys.argv[1:]
    parts = crates(target, *programs)
    Path(listed).write_text(cyclonedx(parts, int(os.environ["SOURCE_DATE_EPOCH"])))
    Path(texts).write_text(licences(parts))
