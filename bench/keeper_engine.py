#!/usr/bin/env python3
"""A fleet of agent containers under `ready-keeper`, while the Redis that all of them need is away for longer than their
grace. One of them loses its agent, one loads all the time, one reloads, one drains. On a real Docker engine, with the
defaults of the probe and of the keeper.

Exactly one container is to be restarted, once, and people are to be told once that something is wrong.

usage: python3 bench/keeper_engine.py [--containers 24] [--away-s 300] [--check]
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from build import BenchError
from engine import ADDRESS, Container, Engine, built, command_line, engine, example_agent
from program import run_program
from subject import PORT, PROBE, tell
from world import PATH, program

HOST = ADDRESS.partition("/")[0]
REDIS_PORT = 6399
LABEL = "ready-keeper=true"
HEALTHCHECK = f'HEALTHCHECK --interval=10s --timeout=10s --retries=3 CMD ["{PROBE}"]'
SUPERVISED = f'CMD ["/rust-agent", "supervise", "translator={PORT}"]'
# Twenty minutes are longer than all of this takes: it never becomes ready.
LOADS = "20m"
PATIENCE_S = 180
LOOK_S = 0.5


class Fleet:
    """The containers, the keeper beside them, and what people are told."""

    def __init__(self, engine: Engine, folder: Path, size: int) -> None:
        self.engine = engine
        self.folder = folder
        image = engine.image(
            "ready-probe-bench/fleet", [built("ready-probe", "probe"), example_agent()], [SUPERVISED, HEALTHCHECK]
        )
        options = [f"--label={LABEL}", f"--env=REDIS_URL=redis://{HOST}:{REDIS_PORT}"]
        alone = ["/rust-agent"]
        self.loads = engine.start(image, *options, f"--env=AGENT_LOAD={LOADS}", command=alone)
        self.reloads = engine.start(image, *options, command=alone)
        self.drains = engine.start(image, *options, command=alone)
        self.killed = engine.start(image, *options)
        others = [engine.start(image, *options) for _ in range(size - 4)]
        self.ready = [self.reloads, self.drains, self.killed, *others]
        self.all = [self.loads, *self.ready]

    def lives(self) -> dict[str, str]:
        return {one.id: one.inspect("{{.State.StartedAt}}") for one in self.all}

    def names(self) -> dict[str, str]:
        return {one.id: one.inspect("{{.Name}}").lstrip("/") for one in self.all}

    def wait_until_healthy(self) -> None:
        for one in self.ready:
            wait(f"{one.id[:12]} to be healthy", lambda one=one: one.health().get("Status") == "healthy")

    def status(self) -> dict[str, dict[str, Any]]:
        """What the keeper knows, by the names of services."""
        said = subprocess.run(
            [built("ready-keeper", "keeper"), "status", "--state", self.folder / "state", "--format", "json"],
            capture_output=True,
            text=True,
        ).stdout
        return {one["name"]: one for one in json.loads(said)["services"]} if said else {}


class Redis:
    """One at the engine's bridge, that comes and goes."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Redis:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        argv = [program("redis-server"), "--bind", HOST, "--port", str(REDIS_PORT), "--save", "", "--protected-mode", "no"]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd="/")

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def people() -> Iterator[tuple[str, list[str]]]:
    """A webhook: its address, and the titles that it was told."""
    told: list[str] = []

    class Webhook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.append(str(body.get("title")))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", told
    finally:
        server.shutdown()


@contextlib.contextmanager
def keeper(fleet: Fleet, webhook: str) -> Iterator[None]:
    """With the defaults, at the engine's socket."""
    settings = fleet.folder / "services.toml"
    settings.write_text(
        f'[keeper]\nengine = "{fleet.engine.host}"\n'
        f'[alert.people]\nkind = "webhook"\nurl = "{webhook}"\n'
        f'[[service]]\nname = "redis"\ncheck = ["redis://{HOST}:{REDIS_PORT}#scope=own"]\nalert = ["people"]\n'
        f'[[service]]\nlabel = "{LABEL}"\nalert = ["people"]\n'
    )
    argv = [built("ready-keeper", "keeper"), "run", "--config", settings, "--state", fleet.folder / "state"]
    with (fleet.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            argv, stdout=log, stderr=log, cwd="/", env={"PATH": PATH, "READY_DIR": str(fleet.folder / "signals")}
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def wait(what: str, look: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not look():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {within_s:.0f} s in vain for {what}")
        time.sleep(LOOK_S)


def kill_agent(container: Container) -> None:
    (pid,) = [pid for pid in container.processes() if command_line(pid) == "/rust-agent "]
    os.kill(pid, signal.SIGKILL)


def away(fleet: Fleet, redis: Redis, told: list[str], away_s: float) -> list[str]:
    """What happens, and what came of it: one line for each thing that is not as it should be."""
    names = fleet.names()
    killed = names[fleet.killed.id]

    def state(name: str) -> object:
        return fleet.status().get(name, {}).get("state")

    for one in fleet.ready:
        wait(f"the keeper to know {names[one.id]}", lambda one=one: state(names[one.id]) == "healthy")
    lives = fleet.lives()
    tell(fleet.reloads.address, PORT, ["reload a new model"])
    tell(fleet.drains.address, PORT, ["hang 1h"])
    fleet.engine.run("kill", "--signal=TERM", fleet.drains.id)
    kill_agent(fleet.killed)
    redis.stop()
    began = time.monotonic()
    print(f"Redis is away for {away_s:.0f} s, {killed} has lost its agent", flush=True)
    while time.monotonic() - began < away_s:
        time.sleep(LOOK_S)
    unhealthy = sum(one.health().get("Status") == "unhealthy" for one in fleet.all)
    alerts = list(told)
    redis.start()
    wait(f"{killed} to work again", lambda: state(killed) in ("probation", "healthy"))
    # Whatever is still to come.
    wait("people to be told of its end", lambda: len(told) > len(alerts))
    restarts = {name: one["restarts"]["total"] for name, one in fleet.status().items() if one["restarts"]["total"]}
    others = [name for id, name in names.items() if fleet.lives()[id] != lives[id]]
    print(f"unhealthy at its end: {unhealthy} of {len(fleet.all)}; restarts: {restarts}; told: {alerts}, then {told[len(alerts):]}")
    problems = []
    if restarts != {killed: 1} or others != [killed]:
        problems.append(f"restarts: {restarts}, of which the engine knows {others}; wanted: {killed} once")
    if alerts != ["redis is down and not restarted"]:
        problems.append(f"told: {alerts}")
    if unhealthy < len(fleet.all) - 1:
        problems.append(f"only {unhealthy} were unhealthy: its absence was not felt")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--containers", type=int, default=24, help="at least 5")
    parser.add_argument("--away-s", type=float, default=300)
    parser.add_argument("--check", action="store_true", help="exit 1 if anything is not as it should be")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ready-probe-fleet-") as folder, engine() as running, Redis() as redis:
        fleet = Fleet(running, Path(folder), options.containers)
        fleet.wait_until_healthy()
        with people() as (webhook, told), keeper(fleet, webhook):
            try:
                problems = away(fleet, redis, told, options.away_s)
            finally:
                if sys.exc_info()[0]:
                    print((fleet.folder / "log").read_text()[-4000:], file=sys.stderr)
    for problem in problems:
        print(f"keeper_engine: {problem}")
    return int(bool(problems) and options.check)


if __name__ == "__main__":
    sys.exit(run_program("keeper_engine", main))
