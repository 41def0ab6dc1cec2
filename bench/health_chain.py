"""How long a chain of services takes to come up, each of which waits until the one before it is healthy."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine import STATUS, Container, Engine, Events
from subject import LIMIT_S, WAYS, Way, image
from world import PATH

ROUNDS = 3
# How long each service takes to load; what is left of an interval then is another part each time.
LOADS_S = (2.0, 2.3, 2.6, 2.9)
# Long enough that no failed check counts while a service loads: Compose gives up on an unhealthy one.
START_PERIOD_S = 300


@dataclass(frozen=True)
class Chain:
    """From the first start to the last `healthy`, in seconds, of each round."""

    took_s: list[float]

    @property
    def a_link_s(self) -> float:
        """Of the slowest round: what was lost at each link, beyond what the services take to load."""
        return (max(self.took_s) - sum(LOADS_S)) / (len(LOADS_S) - 1)


def name(number: int) -> str:
    return f"service-{number}"


def project(tag: str) -> dict[str, object]:
    services = {}
    for number, load_s in enumerate(LOADS_S):
        service: dict[str, object] = {
            "image": tag,
            "network_mode": "none",
            "environment": {"AGENT_NAME": name(number), "AGENT_LOAD": f"{int(load_s * 1000)}ms"},
        }
        if number:
            service["depends_on"] = {name(number - 1): {"condition": "service_healthy"}}
        services[name(number)] = service
    return {"services": services}


@contextlib.contextmanager
def by_compose(engine: Engine, events: Events, tag: str) -> Iterator[list[Container]]:
    with tempfile.TemporaryDirectory(prefix="ready-probe-bench-") as folder:
        file = Path(folder, "compose.json")
        file.write_text(json.dumps(project(tag)))
        compose = ["--project-name=chain", f"--file={file}"]
        try:
            engine.run(*compose, "up", "--detach", tool="docker-compose")
            ids = [engine.run(*compose, "ps", "--quiet", name(i), tool="docker-compose") for i in range(len(LOADS_S))]
            yield [Container(engine, identity) for identity in ids]
        finally:
            engine.run(*compose, "down", "--timeout=0", tool="docker-compose")


@contextlib.contextmanager
def by_hand(engine: Engine, events: Events, tag: str, interval_s: int) -> Iterator[list[Container]]:
    containers = []
    try:
        for number, load_s in enumerate(LOADS_S):
            env = [f"--env=AGENT_NAME={name(number)}", f"--env=AGENT_LOAD={int(load_s * 1000)}ms"]
            containers.append(engine.start(tag, "--network=none", *env))
            if number + 1 < len(LOADS_S):
                events.next(containers[-1], f"{STATUS}healthy", LIMIT_S + interval_s)
        yield containers
    finally:
        for container in containers:
            container.remove()


def come_up(engine: Engine, events: Events, way: Way, tag: str) -> float:
    has_compose = shutil.which("docker-compose", path=PATH)
    up = by_compose(engine, events, tag) if has_compose else by_hand(engine, events, tag, way.interval_s)
    with up as containers:
        # The last one may still be loading: what comes before its end is heard.
        events.next(containers[-1], f"{STATUS}healthy", LIMIT_S + 2 * way.interval_s)
        (start,) = [event.at for event in events.of(containers[0].id) if event.action == "start"]
        (healthy,) = [event.at for event in events.of(containers[-1].id) if event.action == f"{STATUS}healthy"]
    return healthy - start


def measure_chains(engine: Engine, events: Events) -> dict[Way, Chain]:
    chains = {}
    for way in WAYS:
        tag = image(engine, way, START_PERIOD_S, ["/rust-agent"])
        rounds = ROUNDS if way.hold_s else 1
        chains[way] = Chain([come_up(engine, events, way, tag) for _ in range(rounds)])
    return chains
