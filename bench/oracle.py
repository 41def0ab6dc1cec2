"""Whether an engine's health statuses were true, and in time. Pure: it is given what was true when, and what was said.

`python3 bench/oracle.py` tests it.

A truth is what a status may be from an instant on, until the next one: two of them where it is not known on which
side of a change the instant lies. A status holds from its instant on as well. What is said at an instant is wrong if
it was not true at any time in the `allowed` seconds before; it is late if it had been true once, but has not been for
longer than that.
"""

from __future__ import annotations

import bisect
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HEALTHY, UNHEALTHY, STARTING, NONE = "healthy", "unhealthy", "starting", "none"
# Where anything may be said: while a container starts and stops.
ANYTHING = frozenset({HEALTHY, UNHEALTHY, STARTING, NONE})


@dataclass(frozen=True)
class Truth:
    at: float
    may_be: frozenset[str]


@dataclass(frozen=True)
class Status:
    at: float
    says: str


@dataclass(frozen=True)
class Wrong:
    """It was said, and had not been true for `allowed` before."""

    at: float
    says: str
    true: str


@dataclass(frozen=True)
class Late:
    """It was still said, `by_s` after it had last been true."""

    at: float
    says: str
    by_s: float


@dataclass(frozen=True)
class Verdict:
    wrong: Sequence[Wrong]
    late: Sequence[Late]
    # How long after a truth had changed for good the status followed, of all changes that it had to follow.
    followed_s: Sequence[float]


def may_be(truths: Sequence[Truth], at: float) -> frozenset[str]:
    """Before the first truth anything is."""
    after = bisect.bisect_right([truth.at for truth in truths], at)
    return truths[after - 1].may_be if after else ANYTHING


def last_true(truths: Sequence[Truth], says: str, at: float) -> float:
    """When a status was last true, at or before an instant: before the first truth everything was."""
    end = at
    for truth in reversed([truth for truth in truths if truth.at <= at]):
        if says in truth.may_be:
            return end
        end = truth.at
    return end


def judge(truths: Sequence[Truth], statuses: Sequence[Status], end: float, allowed: float) -> Verdict:
    """Truths and statuses in the order of their instants; what is said last before `end` is said until then."""
    wrong: list[Wrong] = []
    late: list[Late] = []
    followed: list[float] = []
    said = [status for status in statuses if status.at < end]
    changes = [status for before, status in zip([None, *said], said) if before is None or before.says != status.says]
    untils = [status.at for status in changes[1:]] + [end]
    for status, until in zip(changes, untils, strict=True):
        if status.at - last_true(truths, status.says, status.at) > allowed:
            wrong.append(Wrong(status.at, status.says, " or ".join(sorted(may_be(truths, status.at)))))
            continue
        # It may be true again later on, so look at each stretch in which it is not.
        for begin, over in stretches(truths, status.says, status.at, until):
            if over - begin > allowed:
                late.append(Late(begin, status.says, over - begin))
            if over == until and until < end:
                followed.append(over - begin)
    return Verdict(wrong, late, followed)


def stretches(truths: Sequence[Truth], says: str, start: float, until: float) -> Iterable[tuple[float, float]]:
    """When a status was not true between two instants, each from when it had last been."""
    begins = [truth.at for truth in truths] + [float("inf")]
    begin: float | None = None
    for truth, over in zip(truths, begins[1:], strict=True):
        if says in truth.may_be:
            if begin is not None and start < truth.at:
                yield begin, min(truth.at, until)
            begin = None
        elif begin is None:
            begin = truth.at
        if over >= until:
            break
    if begin is not None and begin < until:
        yield begin, until


def all_of(parts: Sequence[Sequence[Truth]]) -> list[Truth]:
    """The truth of a container with several agents: it is healthy if all of them are."""
    instants = sorted({truth.at for part in parts for truth in part})
    return [Truth(at, together([may_be(part, at) for part in parts])) for at in instants]


def together(of_each: Sequence[frozenset[str]]) -> frozenset[str]:
    possible = set()
    if all(HEALTHY in one for one in of_each):
        possible.add(HEALTHY)
    if any(one - {HEALTHY} for one in of_each):
        possible.add(UNHEALTHY)
    return frozenset(possible)


def overlaid(under: Sequence[Truth], over: Sequence[tuple[float, float, frozenset[str]]]) -> list[Truth]:
    """Between these instants something else is true: the container is paused, or being restarted."""
    instants = {truth.at for truth in under} | {at for begin, end, _ in over for at in (begin, end)}
    truths = []
    for at in sorted(instants):
        hidden = [what for begin, end, what in over if begin <= at < end]
        truths.append(Truth(at, hidden[-1] if hidden else may_be(under, at)))
    return truths


def self_test() -> int:
    """A table: what was true, what was said, what is to be found."""
    good, bad, either = frozenset({HEALTHY}), frozenset({UNHEALTHY}), frozenset({HEALTHY, UNHEALTHY})
    up_down = [Truth(0, good), Truth(10, bad)]
    flicker = [Truth(0, good), Truth(10, bad), Truth(10.2, good)]
    unsure = [Truth(0, good), Truth(10, either), Truth(12, bad)]
    repeated = [Truth(0, good), Truth(10, bad), Truth(11, bad)]
    cases: list[tuple[str, list[Truth], list[tuple[float, str]], int, int]] = [
        ("true all the time", [Truth(0, good)], [(0, HEALTHY)], 0, 0),
        ("follows at once", up_down, [(0, HEALTHY), (10.1, UNHEALTHY)], 0, 0),
        ("follows just in time", up_down, [(0, HEALTHY), (11.4, UNHEALTHY)], 0, 0),
        ("follows late", up_down, [(0, HEALTHY), (11.6, UNHEALTHY)], 0, 1),
        ("never follows", up_down, [(0, HEALTHY)], 0, 1),
        ("says it before it is true", up_down, [(0, HEALTHY), (9.9, UNHEALTHY), (10, UNHEALTHY)], 1, 0),
        ("was never true", [Truth(0, good)], [(0, HEALTHY), (5, UNHEALTHY), (6, HEALTHY)], 1, 0),
        ("a flicker may be missed", flicker, [(0, HEALTHY)], 0, 0),
        ("a flicker may be told soon after", flicker, [(0, HEALTHY), (10.9, UNHEALTHY), (11.5, HEALTHY)], 0, 0),
        ("a flicker may not be told for ever", flicker, [(0, HEALTHY), (10.1, UNHEALTHY)], 0, 1),
        ("old news", flicker, [(0, HEALTHY), (11.8, UNHEALTHY), (12, HEALTHY)], 1, 0),
        ("unsure: early", unsure, [(0, HEALTHY), (10.1, UNHEALTHY)], 0, 0),
        ("unsure: at its end", unsure, [(0, HEALTHY), (13.4, UNHEALTHY)], 0, 0),
        ("unsure: after it", unsure, [(0, HEALTHY), (13.6, UNHEALTHY)], 0, 1),
        ("unsure: before it", unsure, [(0, HEALTHY), (9.9, UNHEALTHY)], 1, 0),
        ("one truth told twice is one", repeated, [(0, HEALTHY), (11.8, UNHEALTHY)], 0, 1),
        ("said twice", up_down, [(0, HEALTHY), (10.1, UNHEALTHY), (13, UNHEALTHY)], 0, 0),
        ("after the end", up_down, [(0, HEALTHY), (10.1, UNHEALTHY), (21, HEALTHY)], 0, 0),
        ("late once, then right", up_down, [(0, HEALTHY), (12, UNHEALTHY)], 0, 1),
        ("starting is over", [Truth(0, frozenset({STARTING})), Truth(1, good)], [(0, STARTING)], 0, 1),
        ("nothing is known before", up_down, [(-5, UNHEALTHY), (0.5, HEALTHY), (10.5, UNHEALTHY)], 0, 0),
    ]
    failed = 0
    for name, truths, said, wrong, late in cases:
        found = judge(truths, [Status(at, says) for at, says in said], 20, 1.5)
        if (len(found.wrong), len(found.late)) != (wrong, late):
            failed += 1
            print(f"oracle: {name}: wanted {wrong} wrong and {late} late, found {found}", file=sys.stderr)
    failed += check("two agents", all_of([up_down, [Truth(0, good), Truth(5, either)]]),
                    [(0, good), (5, either), (10, bad)])  # fmt: skip
    failed += check("overlaid", overlaid(up_down, [(5, 12, either)]), [(0, good), (5, either), (10, either), (12, bad)])
    delays = judge(up_down, [Status(0, HEALTHY), Status(10.3, UNHEALTHY)], 20, 1.5).followed_s
    if [round(delay, 3) for delay in delays] != [0.3]:
        failed += 1
        print(f"oracle: followed: {delays}", file=sys.stderr)
    print(f"oracle: {len(cases) + 3} cases, {failed} failed")
    return 1 if failed else 0


def check(name: str, found: Sequence[Truth], wanted: Sequence[tuple[float, frozenset[str]]]) -> int:
    if [(truth.at, truth.may_be) for truth in found] == list(wanted):
        return 0
    print(f"oracle: {name}: {found}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(self_test())
