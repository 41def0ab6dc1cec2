#!/usr/bin/env python3
"""Runs every test in four lanes beside each other: those of Docker that build images for minutes; those of Docker that
wait for health checks, and those of the keeper; those of the SDKs and of Podman; and all others. `make test` calls it when everything that they need has been built and installed.

A test that fails is run again alone; CONTRIBUTING.md says what is made of that. The output of everything is kept
in target/test-logs.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from testing.children import Children, run_until_interrupted
from testing.lanes import report, run_all
from testing.suites import DocTests, Program, Pytest, RustTests, Suite

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "target/test-logs"
PYTHON = str(ROOT / "target/python-venv/bin/python")
CARGO_TEST = [os.environ.get("CARGO", "cargo"), "test", "--locked", "--workspace", "--all-features"]
# Tests of containers; those of what all tests stand on need Docker in part.
DOCKER, PODMAN, SUPPORT = "tests/docker/main.rs", "tests/podman/main.rs", "tests/support/src/lib.rs"
KEEPER = "tests/keeper/main.rs"
# Tests of Docker that build images, by the module that they are in.
IMAGES = "images::"
# On two cores. Tests of containers mostly wait for health checks, and give way to those that are timed; those of the
# keeper wait as well.
CONTAINER_THREADS, IMAGE_THREADS, THREADS, WORKERS = 5, 3, 3, 4
CONTAINER_NICE = 5
BUILD_S, LANES_S = 1800.0, 1800.0


def main() -> int:
    shutil.rmtree(LOGS, ignore_errors=True)
    children = Children(LOGS)
    return run_until_interrupted(children, lambda: build_and_run(children))


def build_and_run(children: Children) -> bool:
    programs = build(children)
    if programs is None:
        return False
    docker, podman, support = (
        [of_containers(suite) for suite in programs if suite.title == title] for title in (DOCKER, PODMAN, SUPPORT)
    )
    images = [replace(suite, title=f"{DOCKER}, images", threads=IMAGE_THREADS, which=(IMAGES,)) for suite in docker]
    docker = [replace(suite, which=("--skip", IMAGES)) for suite in docker]
    others = [without_containers(suite) for suite in programs if suite.title not in (DOCKER, PODMAN)]
    of_sdk = [suite for suite in others if suite.title.startswith("sdk/")]
    others = [suite for suite in others if suite not in of_sdk]
    of_keeper = [replace(suite, threads=CONTAINER_THREADS) for suite in others if suite.title == KEEPER]
    others = [suite for suite in others if suite.title != KEEPER]
    lanes = [
        images,
        [*docker, *support, *of_keeper],
        [*of_sdk, of_python(), *podman],
        [*others, *rest()],
    ]
    account = run_all(children, lanes, LANES_S)
    print("\n" + report(account), flush=True)
    return account.good


def build(children: Children) -> list[RustTests] | None:
    """Builds the test programs, before any is run: no test is to run beside a compiler."""
    argv = [*CARGO_TEST, "--no-run", "--message-format=json-render-diagnostics"]
    run = children.run("build", argv, cwd=ROOT, limit_s=BUILD_S)
    if run.status != 0:
        print(f"{run.err}\nfailed: the tests could not be built: {run.ending}\n0 passed, 1 failed")
        return None
    print(f"built  {run.seconds:.1f} s", flush=True)
    messages = [json.loads(line) for line in run.out.splitlines() if line.startswith("{")]
    programs = [suite(message) for message in messages if message.get("executable") and message["profile"]["test"]]
    return sorted(programs, key=lambda program: program.title)


def suite(message: dict) -> RustTests:
    title = str(Path(message["target"]["src_path"]).relative_to(ROOT))
    package = Path(message["manifest_path"]).parent
    return RustTests(title, message["executable"], package, THREADS)


def of_containers(suite: RustTests) -> RustTests:
    suite = replace(suite, threads=CONTAINER_THREADS, nice=CONTAINER_NICE)
    return replace(suite, title=f"{SUPPORT}, docker", which=("docker::",)) if suite.title == SUPPORT else suite


def without_containers(suite: RustTests) -> RustTests:
    return replace(suite, which=("--skip", "docker::")) if suite.title == SUPPORT else suite


def of_python() -> Suite:
    return Pytest("bindings-python/tests", PYTHON, ROOT / "bindings-python", WORKERS, LOGS / "pytest.xml")


def rest() -> list[Suite]:
    """What else is no program of Rust tests."""
    return [
        Program("scripts/test_run_tests.py", [PYTHON, "-m", "unittest", "test_run_tests"], ROOT / "scripts"),
        DocTests("doc tests", [*CARGO_TEST, "--doc"], ROOT),
        Program(
            "examples/demo.py",
            [sys.executable, "examples/demo.py", "dist/ready-probe", "dist/ready-keeper", "target/debug/rust-agent"],
            ROOT,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
