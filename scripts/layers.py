#!/usr/bin/env python3
"""Holds the crates to their layers: a module names those only that stand before it in the lists below, and no
two files of a folder name each other. Holds the code map of ARCHITECTURE.md to files that exist.

Reads `crate::…` and `super::…` in code; not in comments, and not in tests, which may use everything.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The last module is the public face, or the program.
LAYERS = {
    "sdk/src/lib.rs": """
        host signal error freshness clock duration variable kept thread backoff per_process
        folder connect store
        watchdog outbox publisher announce heartbeat agents agent mark lib
    """,
    "probe/src/lib.rs": """
        outcome fleet redact duration time_limit verdict grace hold answer left_behind role event_loop child signals
        target settings link newest check memory far watch plan report judge probe lib
    """,
    "probe/src/main.rs": """
        exit cli typed deadline relay start run long_poll config install list mark run_command wait main
    """,
}
# What stands in the root of a crate, above all modules, for all of them.
OF_THE_ROOT = {"Result", "Error", "ErrorKind", "State", "Announced", "Agent", "AgentBuilder", "Draining", "Working"}


def main() -> int:
    problems = [problem for root in LAYERS for problem in check(ROOT / root, LAYERS[root].split())]
    problems += missing((ROOT / "ARCHITECTURE.md").read_text())
    for problem in problems:
        print(f"layers: {problem}", file=sys.stderr)
    print(f"layers: {sum(len(layers.split()) for layers in LAYERS.values())} modules, {len(problems)} problems")
    return 1 if problems else 0


def check(root: Path, layers: list[str]) -> list[str]:
    sources = root.parent
    declared = set(re.findall(r"^(?:pub |pub\(crate\) )?mod (\w+);", root.read_text(), re.MULTILINE))
    problems = [
        f"{root.relative_to(ROOT)}: module {name} has no place in scripts/layers.py"
        for name in sorted(declared - set(layers))
    ]
    for module in declared & set(layers):
        files = {path: code(path) for path in files_of(sources, module)}
        below = layers[: layers.index(module)]
        for path, text in files.items():
            for name in sorted(named(text, "crate") & (declared - set(below) - {module})):
                problems.append(f"{path.relative_to(ROOT)} names {name}, which does not stand before {module}")
        problems += circles(files)
    return problems


def files_of(sources: Path, module: str) -> list[Path]:
    inner = sorted((sources / module).rglob("*.rs"))
    own = [sources / f"{module}.rs", *inner]
    return [path for path in own if not path.stem.endswith("tests")]


def code(path: Path) -> str:
    """Without comments and tests."""
    text = path.read_text().split("#[cfg(test)]\nmod tests {")[0]
    return re.sub(r"//.*", "", text)


def named(text: str, root: str) -> set[str]:
    """What is named right below `crate` or `super`, in lists as well."""
    lists = re.findall(rf"\b{root}::\{{(.*?)\}};", text, re.DOTALL)
    single = re.findall(rf"(?<!::)\b{root}::(\w+)", text)
    within = [name for part in lists for name in re.findall(r"(?:^|,)\s*(\w+)", re.sub(r"\{[^{}]*\}", "", part))]
    return {name for name in [*single, *within] if name not in OF_THE_ROOT}


def circles(files: dict[Path, str]) -> list[str]:
    """Files of one folder that name each other. A file and the folder of its name are one module."""
    names = {path: {other for other in files if is_sibling(path, other) and other.stem in named(text, "super")}
             for path, text in files.items()}
    return [
        f"{path.relative_to(ROOT)} and {other.name} name each other"
        for path in names
        for other in names[path]
        if path < other and path in names[other]
    ]


def missing(document: str) -> list[str]:
    """Files of the code map that are not there. A table's heading may name the folder of its paths."""
    problems = []
    for crate in ("sdk", "probe"):
        section = document.split(f"\n### `{crate}/`")[1].split("\n### ")[0]
        for table in section.split("\n\n|")[1:]:
            heading, _, *rows = table.split("\n\n")[0].splitlines()
            folder = re.search(r"`(\w+/)`", heading)
            base = ROOT / crate / "src" / (folder.group(1) if folder else "")
            for name in re.findall(r"`([\w./{},]+\.rs)`", "\n".join(row.rpartition(" | ")[2] for row in rows)):
                problems += [f"ARCHITECTURE.md: there is no {crate}/src/…{path}" for path in expanded(name)
                             if not (base / path).is_file()]
    return problems


def expanded(name: str) -> list[str]:
    before, _, rest = name.partition("{")
    names, _, after = rest.partition("}")
    return [before + each + after for each in names.split(",")]


def is_sibling(path: Path, other: Path) -> bool:
    return path != other and path.parent == other.parent


if __name__ == "__main__":
    sys.exit(main())
