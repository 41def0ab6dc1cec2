#!/usr/bin/env python3
"""Holds the crates to their layers: a module names those only that stand before it in the lists below, no files
of a module name each other in a circle, and no two types of a crate have one name. Holds the code map of
ARCHITECTURE.md to files that exist.

Reads `crate::…` and `super::…` in code; not in comments, and not in tests, which may use everything.

usage: layers.py [--self-test]
"""

from __future__ import annotations

import re
import sys
import unittest
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The last module is the public face, or the program.
LAYERS = {
    "sdk/src/lib.rs": """
        host signal error freshness clock duration trimmed_variable kept_descriptor thread backoff per_process
        folder connect store
        watchdog outbox publisher announce heartbeat agents agent mark lib
    """,
    "probe/src/lib.rs": """
        exposition outcome fleet redact duration time_limit verdict grace hold answer stuck_child role event_loop child signals
        target settings link newest check memory hung_mount watch plan report confirm judge probe lib
    """,
    "probe/src/main.rs": """
        exit cli typed verbose deadline hung_settings start instances metrics tell run long_poll config install list mark run_command wait main
    """,
    "keeper/src/main.rs": """
        exit rules seen machine markers shell recovery container engine process_one processes stop question stood_still
        asking children discovery voice replace_file alert services account commands orders memory people schedule
        metrics keeper askers once scrapes run cli config person status main
    """,
}
# What stands in the root of a crate, above all modules, for all of them.
OF_THE_ROOT = {"Result", "Error", "ErrorKind", "State", "Announced", "Agent", "AgentBuilder", "Draining", "Working"}


# `("store", "nats", "link")`.
Module = tuple[str, ...]
# The extension module of the Python package has no layers.
CRATES = ("sdk/src", "probe/src", "keeper/src", "bindings-python/src")


def main() -> int:
    if "--self-test" in sys.argv:
        return 0 if unittest.main(argv=sys.argv[:1], exit=False).result.wasSuccessful() else 1
    problems = [problem for root in LAYERS for problem in check(ROOT / root, LAYERS[root].split())]
    problems += [problem for crate in CRATES for problem in doubles(types_of(ROOT / crate))]
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
        texts = {path.relative_to(sources).with_suffix("").parts: text for path, text in files.items()}
        problems += [
            f"{root.relative_to(ROOT)}: a circle: " + ", ".join("::".join(one) for one in circle)
            for circle in circles(arrows(texts))
        ]
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


# A path, or several in a list.
NAMED = r"(?<![\w:])(crate|super(?:::super)*)::(?:(\w[\w:]*)|\{(.*?)\};)"


def arrows(texts: dict[Module, str]) -> dict[Module, set[Module]]:
    """Which modules of a folder name which others of it: they, or what is inside of them. What is inside may name
    what is around it."""
    found: dict[Module, set[Module]] = defaultdict(set)
    for own, text in texts.items():
        for target in references(own, text):
            # A type or a function at the end is no module.
            while target and target not in texts:
                target = target[:-1]
            common = next((n for n, pair in enumerate(zip(own, target)) if pair[0] != pair[1]), None)
            if common is not None:
                found[own[: common + 1]].add(target[: common + 1])
    return found


def references(own: Module, text: str) -> list[Module]:
    """The paths that are named in a module, from the root of its crate."""
    found = []
    for base, alone, several in re.findall(NAMED, text, re.DOTALL):
        around = () if base == "crate" else own[: -len(base.split("::"))]
        names = [alone] if alone else re.findall(r"(?:^|,)\s*(\w[\w:]*)", re.sub(r"\{[^{}]*\}", "", several))
        found += [(*around, *name.strip(":").split("::")) for name in names]
    return found


def circles(names: dict[Module, set[Module]]) -> list[list[Module]]:
    """Modules that name themselves in the end: the strongly connected ones (Tarjan's algorithm)."""
    found: list[list[Module]] = []
    numbers: dict[Module, int] = {}
    lowest: dict[Module, int] = {}
    stack: list[Module] = []

    def visit(module: Module) -> None:
        numbers[module] = lowest[module] = len(numbers)
        stack.append(module)
        for other in sorted(names.get(module, ())):
            if other not in numbers:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], numbers[other])
        if lowest[module] == numbers[module]:
            at = stack.index(module)
            if len(stack) - at > 1:
                found.append(stack[at:])
            del stack[at:]

    for module in sorted(names):
        if module not in numbers:
            visit(module)
    return found


def types_of(sources: Path) -> list[tuple[str, str]]:
    """The names of types that a crate declares, each with its file. Not those that a type has (`type Error` in
    a trait or its implementation), nor what stands in for a type without its feature; what tests declare is theirs."""
    paths = (path for path in sorted(sources.rglob("*.rs")) if not path.stem.endswith("tests"))
    return [
        (name, str(path.relative_to(ROOT)))
        for path in paths
        for name in re.findall(DECLARED, re.sub(STAND_IN, "", code(path)), re.MULTILINE)
    ]


STAND_IN = r"#\[cfg\(not\(.*\)\)\]\s*(?:#\[.*\]\s*)*(?:pub )?(?:struct|enum|trait) \w+"
# A trait's own types are set in.
DECLARED = r"^(?:[ \t]*(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|union)|(?:pub(?:\([^)]*\))? )?type) (\w+)"


def doubles(types: list[tuple[str, str]]) -> list[str]:
    """Names that mean two types."""
    places = defaultdict(list)
    for name, place in types:
        places[name].append(place)
    return [f"two types are called {name}: {', '.join(files)}" for name, files in places.items() if len(files) > 1]


def missing(document: str) -> list[str]:
    """Files of the code map that are not there. A table's heading may name the folder of its paths."""
    problems = []
    for crate in ("sdk", "probe", "keeper"):
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


class Itself(unittest.TestCase):
    def test_a_circle_is_found_whatever_its_length(self) -> None:
        def found(**names: str) -> list[str]:
            circle = circles({(one,): {(other,) for other in others} for one, others in names.items()})
            return ["".join(one for (one,) in each) for each in circle]

        self.assertEqual(found(a="b", b="c", c="d"), [])
        self.assertEqual(found(a="bc", b="d", c="d"), [])
        self.assertEqual(found(a="b", b="a"), ["ab"])
        self.assertEqual(found(a="b", b="c", c="d", d="b"), ["bcd"])

    def test_what_is_named_is_found_in_lists_and_alone(self) -> None:
        text = "use crate::{clock, host::{Epoch, Process}};\nuse crate::error::Error;\nuse super::other;"
        self.assertEqual(named(text, "crate"), {"clock", "host", "error"})
        self.assertEqual(named(text, "super"), {"other"})

    def test_modules_of_a_folder_name_each_other_by_any_way(self) -> None:
        def found(own: str, text: str) -> list[str]:
            texts = {tuple(path.split("/")): "" for path in ("a", "a/b", "a/c", "a/c/d")}
            names = arrows(texts | {tuple(own.split("/")): text})
            return ["/".join(one) + " " + "/".join(other) for one in names for other in names[one]]

        self.assertEqual(found("a/b", "use super::c::C;"), ["a/b a/c"])
        self.assertEqual(found("a/b", "use super::{A, c::{C, D}};"), ["a/b a/c"])
        self.assertEqual(found("a/b", "use crate::a::c::d::D;"), ["a/b a/c"])
        self.assertEqual(found("a/c/d", "fn f() { super::super::b::f() }"), ["a/c a/b"])
        self.assertEqual(found("a/c/d", "use super::C; use super::super::A; use crate::z;"), [])

    def test_two_types_of_one_name_are_found(self) -> None:
        text = "pub struct Row {}\nimpl X for Y {\n    type Error = E;\n}\nenum Kind {}\npub(super) type Answers = u8;"
        names = re.findall(DECLARED, text, re.MULTILINE)
        self.assertEqual(names, ["Row", "Kind", "Answers"])
        self.assertEqual(doubles([("Row", "a.rs"), ("Kind", "a.rs")]), [])
        self.assertEqual(doubles([("Row", "a.rs"), ("Row", "b.rs")]), ["two types are called Row: a.rs, b.rs"])


if __name__ == "__main__":
    sys.exit(main())
