"""What a figure is held to, and how that is printed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    what: str
    value: str
    bound: str
    holds: bool


def below(what: str, value: float, bound: float, unit: str = "") -> Limit:
    return Limit(what, f"{value:.2f}{unit}", f"< {bound:g}{unit}", value < bound)


def at_most(what: str, value: float, bound: float, unit: str = "") -> Limit:
    return Limit(what, f"{value:.2f}{unit}", f"<= {bound:g}{unit}", value <= bound)


def print_limits(limits: Sequence[Limit]) -> None:
    print(f"\n{'limit':<44} {'measured':>10}   wanted")
    for limit in limits:
        mark = "ok" if limit.holds else "BROKEN"
        print(f"  {limit.what:<42} {limit.value:>10}   {limit.bound:<10} {mark}")


def exit_code(limits: Sequence[Limit], check: bool) -> int:
    """Names what is broken; 1 if that is to fail."""
    broken = [limit for limit in limits if not limit.holds]
    for limit in broken:
        print(f"broken: {limit.what}: {limit.value}, wanted {limit.bound}", file=sys.stderr)
    return 1 if check and broken else 0
