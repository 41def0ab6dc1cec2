"""Suites in lanes that run beside each other, and what is made of their failures.

A test that failed beside others is run again when they have all ended. One that passes then is flaky, which is a
defect to mend; one that fails each time has failed. Each is judged by itself.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from .children import Children, Interrupted
from .suites import Outcome, Suite

# How often a failed test is tried again, and how long that may take.
AGAIN = 2
ALONE_S = 600.0
# More failures than these are no accident.
FEW = 20


@dataclass
class Failure:
    """A test that failed, and what it said each time."""

    suite: Suite
    test: str
    said: list[str]

    @property
    def name(self) -> str:
        return f"{self.suite.title}: {self.test}" if self.test != self.suite.title else self.test


@dataclass
class Account:
    """What became of all tests."""

    passed: int = 0
    failed: list[Failure] = field(default_factory=list)
    flaky: list[Failure] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    """What is wrong with a suite as a whole."""

    @property
    def good(self) -> bool:
        return self.passed > 0 and not self.failed and not self.problems


def run_all(children: Children, lanes: list[list[Suite]], limit_s: float) -> Account:
    """Runs the lanes beside each other, each within the limit, and what failed once more."""
    account, lock = Account(), threading.Lock()
    deadline = time.monotonic() + limit_s

    def go(lane: list[Suite]) -> None:
        for suite in lane:
            try:
                outcome = suite.run(children, deadline - time.monotonic())
            except Interrupted:
                return
            except Exception as error:  # A suite that breaks must not take the rest of its lane along.
                outcome = Outcome(problem=f"the runner failed: {error!r}")
            with lock:
                take(account, suite, outcome)

    threads = [threading.Thread(target=go, args=(lane,), daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(account.failed) > FEW:
        print(f"{len(account.failed)} tests failed: too many to try each again", flush=True)
    else:
        account.failed = [failure for failure in account.failed if not passes_alone(children, account, failure)]
    return account


def take(account: Account, suite: Suite, outcome: Outcome) -> None:
    word = "FAILED" if outcome.failed or outcome.problem else "ok"
    took = f"{outcome.seconds:7.1f} s, {outcome.cpu_s:6.1f} s of a processor"
    print(f"{word:7}{suite.title:48}{outcome.passed:5} passed {took}", flush=True)
    for test in outcome.failed:
        print(f"       failed: {test}", flush=True)
    for process in outcome.left:
        print(f"       left running, and ended: {process}", flush=True)
    account.passed += outcome.passed
    account.failed += [Failure(suite, test, [said]) for test, said in outcome.failed.items()]
    if outcome.problem:
        print(f"       {outcome.problem.splitlines()[0]}", flush=True)
        account.problems.append((suite.title, outcome.problem))


def passes_alone(children: Children, account: Account, failure: Failure) -> bool:
    for _ in range(AGAIN):
        outcome = failure.suite.alone(children, failure.test, ALONE_S)
        passes = outcome.passed == 1 and not outcome.failed and not outcome.problem
        print(f"alone  {'ok' if passes else 'FAILED'}: {failure.name} {outcome.seconds:.1f} s", flush=True)
        if passes:
            account.passed += 1
            account.flaky.append(failure)
            return True
        failure.said += [outcome.problem, *outcome.failed.values()]
    return False


def report(account: Account) -> str:
    """All that failures said; then, in a line each, who they were; then the sum."""
    parts = [f"==== {title}: {problem}" for title, problem in account.problems]
    for failure in account.flaky + account.failed:
        said = "\n---- again ----\n".join(filter(None, failure.said)) or "(it said nothing)"
        parts.append(f"==== {failure.name}\n{said}")
    lines = [f"flaky, passed alone: {failure.name}" for failure in account.flaky]
    lines += [f"failed: {failure.name}" for failure in account.failed]
    lines += [f"failed: {title}: {problem.splitlines()[0]}" for title, problem in account.problems]
    if not account.passed:
        lines.append("failed: no test has passed")
    failed = len(account.failed) + len(account.problems)
    return "\n\n".join([*parts, "\n".join([*lines, f"{account.passed} passed, {failed} failed"])])
