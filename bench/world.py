"""What the probes find: a Redis, a NATS server, a ready agent's signal, a flooding server.

Everything is started here and ended by its own process id when the `with` is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build import BenchError

# Where agents publish when nobody says otherwise.
READY_DIR = Path("/dev/shm/ready-probe")
AGENT = f"bench-{os.getpid()}"
TTL_MS = 3_600_000
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])


@dataclass(frozen=True)
class World:
    """Where everything is, once it is up."""

    record: Path
    own_dir: Path
    redis_port: int
    nats_port: int


def program(name: str) -> str:
    found = shutil.which(name, path=PATH)
    if found is None:
        raise BenchError(f"{name}: not installed (looked in {PATH})")
    return found


def end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, question: bytes, answer: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(question)
            return connection.recv(4096).startswith(answer)
    except OSError:
        return False


def wait_for(process: subprocess.Popen[bytes], name: str, up: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 10
    while not up():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{name} did not come up:\n{log.read_text(errors='replace')[-1000:]}")
        time.sleep(0.02)


@contextlib.contextmanager
def server(argv: list[str], log: Path, up: Callable[[], bool]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent)
    try:
        wait_for(process, argv[0], up, log)
        yield process
    finally:
        end(process)


@contextlib.contextmanager
def redis_process(scratch: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    port = free_port()
    argv = [program("redis-server"), "--bind", "127.0.0.1", "--port", str(port)]
    argv += ["--save", "", "--appendonly", "no", "--dir", str(scratch)]
    with server(argv, scratch / "redis.log", lambda: answers(port, b"PING\r\n", b"+PONG")) as process:
        yield port, process


@contextlib.contextmanager
def redis_server(scratch: Path) -> Iterator[int]:
    with redis_process(scratch) as (port, _):
        yield port


@contextlib.contextmanager
def nats_server(scratch: Path) -> Iterator[int]:
    port = free_port()
    argv = [program("nats-server"), "-a", "127.0.0.1", "-p", str(port)]
    with server(argv, scratch / "nats.log", lambda: answers(port, b"", b"INFO ")):
        yield port


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None where it can't be read (hidepid)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def signal_record(pid: int, pid_start: int) -> dict[str, object]:
    record: dict[str, object] = {
        "v": 1, "agent": AGENT, "instance": f"{AGENT}-{pid}-{pid_start}", "state": "ready", "reason": None,
        "details": {}, "ttl_ms": TTL_MS, "beat_ms": TTL_MS // 6, "seq": 1, "pid": pid, "pid_start": pid_start,
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "pid_ns": os.stat("/proc/self/ns/pid").st_ino, "init_start": start_time(1),
        "mono_ms": time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000,
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip
    return {key: value for key, value in record.items() if value is not None or key == "reason"}


def publish(agent_dir: Path, pid: int) -> Path:
    pid_start = start_time(pid)
    if pid_start is None:
        raise BenchError(f"/proc/{pid}/stat: can't be read")
    record = agent_dir / f"{pid}-{pid_start}.json"
    record.write_text(json.dumps(signal_record(pid, pid_start), separators=(",", ":")))
    record.chmod(0o644)
    return record


@contextlib.contextmanager
def agent_folder() -> Iterator[Path]:
    """A folder for the signals of our agent; what others publish beside it stays as it is."""
    if not READY_DIR.exists():
        READY_DIR.mkdir()
        READY_DIR.chmod(0o1777)
    folder = READY_DIR / AGENT
    folder.mkdir()
    folder.chmod(0o1777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def ready_agent(*folders: Path) -> Iterator[Path]:
    """A live process with a valid signal in each of the folders; the path of the first."""
    process = subprocess.Popen([program("sleep"), "3600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield [publish(folder, process.pid) for folder in folders][0]
    finally:
        end(process)


@contextlib.contextmanager
def world() -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ready-probe-bench-")))
        own_dir = scratch / "ready"
        (own_dir / AGENT).mkdir(parents=True)
        record = stack.enter_context(ready_agent(stack.enter_context(agent_folder()), own_dir / AGENT))
        redis_port = stack.enter_context(redis_server(scratch))
        nats_port = stack.enter_context(nats_server(scratch))
        yield World(record, own_dir, redis_port, nats_port)


@contextlib.contextmanager
def flooding_server(binary: Path, prefix: str, pattern: str) -> Iterator[int]:
    """The port of a server that sends PREFIX, then PATTERN without end."""
    process = subprocess.Popen([str(binary), prefix, pattern], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout
    try:
        line = process.stdout.readline()
        if not line:
            raise BenchError("flood did not come up")
        yield int(line)
    finally:
        end(process)
        process.stdin.close()
        process.stdout.close()


def heard_by_server(command: Callable[[int], list[str]], greeting: bytes, answer: bytes) -> bytes:
    """What a command sends to a server on the port it is given, up to and with its PING."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        process = subprocess.Popen(
            command(listener.getsockname()[1]), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={"PATH": PATH}
        )
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                connection.sendall(greeting)
                heard = b""
                while not heard.endswith(b"PING\r\n") and (piece := connection.recv(4096)):
                    heard += piece
                connection.sendall(answer)
        except OSError as error:
            raise BenchError(f"{process.args}: {error}") from error
        finally:
            end(process)
    return heard
