"""What can be run: test programs of Rust, its doc tests, pytest, and a program that is a test itself.

A suite says of each of its tests whether it passed, and can run one of them alone. Whatever it can't tell of a
test by name is a problem of the suite.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .children import Children, Run


@dataclass
class Outcome:
    """What became of the tests of a suite."""

    passed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """What each of them said, by name."""
    problem: str = ""
    """Why nothing is known of some of them, and what was said then."""
    left: tuple[str, ...] = ()
    seconds: float = 0.0
    cpu_s: float = 0.0

    def of(self, run: Run) -> Outcome:
        """The same, with what its run took and left."""
        self.left, self.seconds, self.cpu_s = run.left, run.seconds, run.cpu_s
        return self


class Suite(Protocol):
    @property
    def title(self) -> str: ...

    def run(self, children: Children, limit_s: float) -> Outcome: ...

    def alone(self, children: Children, test: str, limit_s: float) -> Outcome: ...


@dataclass(frozen=True)
class RustTests:
    """A program of tests, as `cargo test --no-run` builds it."""

    title: str
    program: str
    package: Path
    threads: int
    nice: int = 0
    which: tuple[str, ...] = ()
    """The filters of libtest, where not all of them are meant."""

    def run(self, children: Children, limit_s: float) -> Outcome:
        return self._run(children, limit_s, [*self.which], f"--test-threads={self.threads}")

    def alone(self, children: Children, test: str, limit_s: float) -> Outcome:
        return self._run(children, limit_s, [test, "--exact"], "--test-threads=1")

    def _run(self, children: Children, limit_s: float, which: list[str], threads: str) -> Outcome:
        def call(*arguments: str) -> Run:
            nice = ["nice", f"--adjustment={self.nice}"] if self.nice else []
            argv = [*nice, self.program, *which, *arguments]
            env = {"CARGO_MANIFEST_DIR": str(self.package)}
            return children.run(self.title, argv, cwd=self.package, env=env, limit_s=limit_s)

        listing = call("--list")
        if listing.status != 0:
            return Outcome(problem=f"its tests can't be listed: {listing.ending}\n{listing.said}")
        run = call(threads)
        return of_libtest(re.findall(r"^(.+): test$", listing.out, re.MULTILINE), run).of(run)


# libtest's own account, which is printed when all tests have ended. What it says of each of them before may
# share its line with the output of a process that a test has started.
SUMMARY = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored; ", re.MULTILINE)


def of_libtest(listed: list[str], run: Run) -> Outcome:
    """What a program that was to run the tests in `listed` says of them."""
    summary = None
    for summary in SUMMARY.finditer(run.out):
        pass
    if run.status not in (0, 101) or summary is None:
        done = set(re.findall(r"^test (\S+)(?: - should panic)? \.\.\. (?:ok|FAILED|ignored)", run.out, re.MULTILINE))
        missing = " ".join(name for name in listed if name not in done)
        return Outcome(problem=f"{run.ending}; nothing is known of: {missing}\n{run.said}")
    passed, failed, ignored = map(int, summary.groups())
    _, _, names_of_failed = run.out[: summary.start()].rpartition("\nfailures:\n")
    names = re.findall(r"^    (\S+)$", names_of_failed, re.MULTILINE) if failed else []
    outcome = Outcome(passed, {name: said_by(name, names, run.out) for name in names})
    if passed + failed + ignored != len(listed) or len(names) != failed or (run.status == 101) != (failed > 0):
        outcome.problem = f"{run.ending}, {len(listed)} tests, but it says: {summary[0]}\n{run.said}"
    return outcome


def said_by(test: str, failed: list[str], out: str) -> str:
    """The part of libtest's output that is one failed test's."""
    others = "|".join(re.escape(name) for name in failed)
    until = rf"(?=^---- (?:{others}) stdout ----$|^failures:$)"
    part = re.search(rf"^---- {re.escape(test)} stdout ----\n(.*?){until}", out, re.MULTILINE | re.DOTALL)
    return part[1].strip() if part else ""


@dataclass(frozen=True)
class DocTests:
    """The examples in doc comments. They have no names that hold for long: one that fails is a problem."""

    title: str
    argv: list[str]
    folder: Path

    def run(self, children: Children, limit_s: float) -> Outcome:
        run = children.run(self.title, self.argv, cwd=self.folder, limit_s=limit_s)
        passed = sum(int(summary[1]) for summary in SUMMARY.finditer(run.out))
        problem = "" if run.status == 0 else f"{run.ending}\n{run.said}"
        return Outcome(passed, problem=problem).of(run)

    def alone(self, children: Children, test: str, limit_s: float) -> Outcome:
        raise NotImplementedError("no doc test fails by name")


@dataclass(frozen=True)
class Pytest:
    """A folder of pytest's."""

    title: str
    python: str
    folder: Path
    workers: int
    report: Path

    def run(self, children: Children, limit_s: float) -> Outcome:
        return self._run(children, limit_s, [f"--numprocesses={self.workers}"])

    def alone(self, children: Children, test: str, limit_s: float) -> Outcome:
        return self._run(children, limit_s, [test, "--numprocesses=0"])

    def _run(self, children: Children, limit_s: float, arguments: list[str]) -> Outcome:
        self.report.unlink(missing_ok=True)
        report = [f"--junitxml={self.report}", "-o", "junit_family=xunit1"]
        argv = [self.python, "-m", "pytest", "-q", *report, *arguments]
        run = children.run(self.title, argv, cwd=self.folder, limit_s=limit_s)
        return of_pytest(run, self.report.read_text() if self.report.exists() else "").of(run)


def of_pytest(run: Run, report: str) -> Outcome:
    """What pytest's report in JUnit's form says of its tests."""
    if run.status not in (0, 1) or not report:
        return Outcome(problem=f"{run.ending}\n{run.said}")
    outcome = Outcome()
    for case in xml.fromstring(report).iter("testcase"):
        bad = [part for part in case if part.tag in ("failure", "error")]
        if bad:
            said = "\n".join(text for part in case for text in (part.get("message"), part.text) if text)
            name = node_id(case)
            outcome.failed[name] = "\n".join(filter(None, (outcome.failed.get(name), said)))
        elif case.find("skipped") is None:
            outcome.passed += 1
    # A test that passed may have failed afterwards, as its fixtures were taken down.
    if (run.status == 1) != bool(outcome.failed):
        outcome.problem = f"{run.ending}, but its report names {len(outcome.failed)} failed tests\n{run.said}"
    return outcome


def node_id(case: xml.Element) -> str:
    """`tests/test_file.py::Class::test[parameter]`: what pytest takes to run this one."""
    file = case.get("file", "")
    inside = case.get("classname", "").removeprefix(file.removesuffix(".py").replace("/", ".")).strip(".")
    return "::".join([file, *filter(None, inside.split(".")), case.get("name", "")])


@dataclass(frozen=True)
class Program:
    """A program that fails by its exit status."""

    title: str
    argv: list[str]
    folder: Path

    def run(self, children: Children, limit_s: float) -> Outcome:
        run = children.run(self.title, self.argv, cwd=self.folder, limit_s=limit_s)
        if run.status is None:
            return Outcome(problem=f"{run.ending}\n{run.said}").of(run)
        failed = {} if run.status == 0 else {self.title: f"{run.ending}\n{run.said}"}
        return Outcome(1 - len(failed), failed).of(run)

    def alone(self, children: Children, test: str, limit_s: float) -> Outcome:
        return self.run(children, limit_s)
