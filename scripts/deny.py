#!/usr/bin/env python3
"""Holds the dependencies to deny.toml: `cargo deny check` where it is installed, and everywhere
what can be told without its database of advisories: licences, sources and bans.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def main() -> int:
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--all-features"]
    metadata = json.loads(subprocess.check_output(command, cwd=ROOT))
    problems = [problem for package in metadata["packages"] for problem in check(package, rules)]
    for problem in problems:
        print(f"deny: {problem}", file=sys.stderr)
    print(f"deny: {len(metadata['packages'])} crates, {len(problems)} problems")
    if problems:
        return 1
    if shutil.which("cargo-deny"):
        return subprocess.call(["cargo", "deny", "check"], cwd=ROOT)
    return 0


def check(package: dict, rules: dict) -> list[str]:
    name = f"{package['name']} {package['version']}"
    problems = []
    if package["source"] not in (None, CRATES_IO):
        problems.append(f"{name} comes from {package['source']}, not from crates.io")
    exceptions = {
        exception.get("crate", exception.get("name")): exception["allow"]
        for exception in rules["licenses"].get("exceptions", [])
    }
    allowed = set(rules["licenses"]["allow"]) | set(exceptions.get(package["name"], []))
    if not is_allowed(package["license"] or "", allowed):
        problems.append(f"{name} has the licence {package['license']!r}, which deny.toml does not allow")
    for ban in rules.get("bans", {}).get("deny", []):
        if package["name"] == (ban if isinstance(ban, str) else ban.get("crate", ban.get("name"))):
            problems.append(f"{name} is banned by deny.toml")
    return problems


def is_allowed(expression: str, allowed: set[str]) -> bool:
    """Evaluates an SPDX expression; the old spelling `A/B` means `A OR B`."""
    tokens = re.findall(r"[()]|[^\s()]+(?: WITH [^\s()]+)?", expression.replace("/", " OR "))
    words = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    if not tokens:
        return False
    python = " ".join(words.get(token, str(token in allowed)) for token in tokens)
    return bool(eval(python, {"__builtins__": {}}))  # only True, False, and, or, brackets


if __name__ == "__main__":
    sys.exit(main())
