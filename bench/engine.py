"""A Docker engine to measure on: its own dockerd, data, socket and bridge, which nobody else uses and which end with it.

Owns what the engine is asked for: images of a few static files, containers, the stream of its events. Everything
goes through the `docker` client. It knows nothing of how long anything takes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from account import Account, account
from build import BenchError
from world import PATH, program

BRIDGE = "rpbench0"
# A /24 of what RFC 2544 sets aside for benchmarks: no network that a machine is on.
ADDRESS = "198.18.77.1/24"
START_LIMIT_S = 60
STOP_LIMIT_S = 60
COMMAND_LIMIT_S = 120

STATUS = "health_status: "
# What the events are filtered by: everything that changes a health status, and each check's beginning.
EVENTS = ("health_status", "exec_start", "start", "die", "pause", "unpause")


@dataclass(frozen=True)
class Event:
    """Something that the engine did, and when this process heard of it, on its monotonic clock."""

    at: float
    container: str
    action: str


class Engine:
    """Spoken to through the `docker` client. Made by `engine()`."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], account: Account) -> None:
        self.folder = folder
        self.account = account
        self.host = f"unix://{folder}/docker.sock"
        self.process = process

    def command(self, *args: str, tool: str = "docker") -> list[str]:
        return ["env", "-u", "DOCKER_CONTEXT", f"DOCKER_HOST={self.host}", program(tool), *args]

    def run(self, *args: str, tool: str = "docker", stdin: bytes = b"") -> str:
        argv = self.command(*args, tool=tool)
        try:
            # Not in the terminal's group: what is under way when somebody presses Ctrl-C ends in order.
            done = subprocess.run(
                argv, input=stdin, capture_output=True, timeout=COMMAND_LIMIT_S, cwd="/", start_new_session=True
            )
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{tool} {' '.join(args)}: no end after {COMMAND_LIMIT_S} s") from error
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise BenchError(f"{tool} {' '.join(args)}: exit {done.returncode}\n{said}")
        return done.stdout.decode(errors="replace").rstrip("\n")

    def answers(self) -> bool:
        with contextlib.suppress(BenchError):
            self.run("version")
            return True
        return False

    def image(self, tag: str, files: Sequence[Path], changes: Sequence[str]) -> str:
        """An image of these programs, each in its root, and these instructions of a Dockerfile."""
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            for file in files:
                archive.add(file, f"/{file.name}")
        self.run("import", *[f"--change={change}" for change in changes], "-", tag, stdin=tar.getvalue())
        return tag

    def start(self, image: str, *options: str, command: Sequence[str] = ()) -> Container:
        identity = self.run("run", "--detach", *options, image, *command)
        return Container(self, identity)

    def remove_containers(self) -> None:
        if containers := self.run("ps", "--all", "--quiet", "--no-trunc").split():
            self.run("rm", "--force", "--volumes", *containers)


@dataclass(frozen=True)
class Container:
    engine: Engine
    id: str

    def inspect(self, template: str) -> str:
        return self.engine.run("inspect", "--format", template, self.id)

    @property
    def address(self) -> str:
        return self.inspect("{{.NetworkSettings.IPAddress}}")

    def health(self) -> dict[str, Any]:
        """Status and log, as the engine keeps them."""
        said = json.loads(self.inspect("{{json .State.Health}}"))
        return dict(said) if said else {}

    def remove(self) -> None:
        self.engine.run("rm", "--force", "--volumes", self.id)

    def processes(self) -> list[int]:
        """The pids, on this machine, of everything that runs in it."""
        return [pid for pid in pids() if self.id in read(f"/proc/{pid}/cgroup")]

    def processes_of(self, command: str) -> list[int]:
        """Those whose command line begins so."""
        return [pid for pid in self.processes() if command_line(pid).startswith(command)]


class Events:
    """What the engine does, from now on, in the order in which it was heard."""

    def __init__(self, engine: Engine) -> None:
        filters = [f"--filter=event={event}" for event in EVENTS]
        argv = engine.command("events", *filters, "--format={{json .}}")
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd="/", start_new_session=True
        )
        self.heard: list[Event] = []
        self.queues: dict[str, queue.SimpleQueue[Event]] = {}
        self.lock = threading.Lock()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            at = time.monotonic()
            said = json.loads(line)
            event = Event(at, str(said["id"]), str(said["status"]))
            with self.lock:
                self.heard.append(event)
                self.queue_of(event.container).put(event)

    def queue_of(self, container: str) -> queue.SimpleQueue[Event]:
        return self.queues.setdefault(container, queue.SimpleQueue())

    def of(self, container: str) -> list[Event]:
        with self.lock:
            return [event for event in self.heard if event.container == container]

    def next(self, container: Container, beginning: str, within_s: float) -> Event:
        """The next event of a container whose name begins so; those before it are dropped."""
        with self.lock:
            events = self.queue_of(container.id)
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                event = events.get(timeout=left)
                if event.action.startswith(beginning):
                    return event
        raise BenchError(f"no {beginning!r} within {within_s:.0f} s; {json.dumps(container.health(), indent=1)}")

    def forget(self, container: Container) -> None:
        """What has been heard so far is not `next`."""
        with self.lock:
            self.queues[container.id] = queue.SimpleQueue()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.reader.join()
        assert self.process.stdout
        self.process.stdout.close()


@contextlib.contextmanager
def events(engine: Engine) -> Iterator[Events]:
    """Returns once the client listens: events before that are lost."""
    heard = Events(engine)
    try:
        with started(engine, "ready-probe-bench/listening") as container:
            deadline = time.monotonic() + START_LIMIT_S
            while not heard.of(container):
                if time.monotonic() > deadline:
                    raise BenchError("docker events: nothing heard")
                engine.run("restart", "--time=0", container)
        yield heard
    finally:
        heard.close()


@contextlib.contextmanager
def started(engine: Engine, tag: str) -> Iterator[str]:
    """A container that does nothing, to be heard of."""
    agent = example_agent()
    engine.image(tag, [agent], ['CMD ["/rust-agent"]'])
    container = engine.start(tag, "--network=none")
    try:
        yield container.id
    finally:
        container.remove()


def built(name: str, target: str) -> Path:
    path = Path(__file__).resolve().parent.parent / "dist" / name
    if not os.access(path, os.X_OK):
        raise BenchError(f"{path}: no such program; `make {target}` builds it")
    return path


def example_agent() -> Path:
    return built("rust-agent", "example-agent")


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def read(path: str) -> str:
    """Empty where it can't be read: the process has gone."""
    with contextlib.suppress(OSError):
        return Path(path).read_text(errors="replace")
    return ""


def command_line(pid: int) -> str:
    return read(f"/proc/{pid}/cmdline").replace("\0", " ")


@contextlib.contextmanager
def bridge() -> Iterator[str]:
    """A bridge of our own: dockerd makes, and deletes, docker0 as it likes."""
    ip = program("ip")
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        if list(Path(f"/sys/class/net/{BRIDGE}/brif").iterdir()):
            raise BenchError(f"the network {BRIDGE} is in use: does another bench run?")
        subprocess.run([ip, "link", "delete", BRIDGE], check=False)
    try:
        for command in (f"link add {BRIDGE} type bridge", f"addr add {ADDRESS} dev {BRIDGE}", f"link set {BRIDGE} up"):
            done = subprocess.run([ip, *command.split()], capture_output=True, text=True)
            if done.returncode != 0:
                raise BenchError(f"ip {command}: {done.stderr.strip()}")
        yield BRIDGE
    finally:
        subprocess.run([ip, "link", "delete", BRIDGE], capture_output=True)


def start_dockerd(folder: Path, network: str, account: Account) -> subprocess.Popen[bytes]:
    # It ends when this process does, whatever ends that one.
    argv = [program("setpriv"), "--pdeathsig=TERM", program("dockerd")]
    argv += [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/dockerd.pid"]
    argv += [f"--host=unix://{folder}/docker.sock", f"--bridge={network}"]
    argv += ["--iptables=false", "--ip-forward=false", "--ip-masq=false"]
    # systemd would want to place containers itself.
    argv += ["--exec-opt=native.cgroupdriver=cgroupfs", f"--cgroup-parent={account.path}"]
    with (folder / "dockerd.log").open("wb") as log:
        return subprocess.Popen(
            account.within(argv),
            env={**os.environ, "PATH": PATH},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )


def stop_dockerd(engine: Engine) -> None:
    with contextlib.suppress(BenchError):
        engine.remove_containers()
    engine.process.terminate()
    try:
        engine.process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        engine.process.kill()
        engine.process.wait()
    # containerd and its shims have the folder's name in their command lines, and are there no more if all went well.
    for pid in pids():
        if str(engine.folder) in command_line(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    mounts = [line.split()[4] for line in read("/proc/self/mountinfo").splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(str(engine.folder))]):
        subprocess.run([program("umount"), "--lazy", mount], capture_output=True)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Whoever is impatient waits: what was started is ended first."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    if os.geteuid() != 0:
        raise BenchError("a Docker engine of its own needs root")
    folder = Path(tempfile.mkdtemp(prefix="ready-probe-bench-"))
    try:
        with bridge() as network, account() as counted:
            running = Engine(folder, start_dockerd(folder, network, counted), counted)
            try:
                wait_until_up(running)
                yield running
            finally:
                with undisturbed():
                    stop_dockerd(running)
    finally:
        with undisturbed():
            shutil.rmtree(folder, ignore_errors=True)


def wait_until_up(engine: Engine) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not engine.answers():
        if engine.process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"dockerd did not start:\n{read(f'{engine.folder}/dockerd.log')[-2000:]}")
        time.sleep(0.1)
