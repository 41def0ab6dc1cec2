"""What the tests stand on: a folder for each, programs in processes of their own, real servers, and
the probe that the wheel has installed.

No test sleeps to let something happen: it waits for the thing, with a deadline.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROBE = Path(sys.executable).with_name("ready-probe")
# Longer than anything here takes on a busy machine; a test that waits so long has failed.
PATIENCE = 60.0
# How long a program may live. Then it says where it hangs, and ends; a test that reads from it fails.
LIFETIME = 120.0


def found_pythons():
    """An interpreter for each CPython from 3.10 on that is found here, by its version as a tuple: this
    one's, those in PATH, and pyenv's. Free-threaded ones are another ABI than the wheel's."""
    found = {sys.version_info[:3]: sys.executable}
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [*map(Path, os.get_exec_path()), Path("/usr/bin"), *pyenv.glob("versions/*/bin")]
    ask = (
        "import sys, sysconfig; print(sys.implementation.name, sysconfig.get_config_var('Py_GIL_DISABLED') or 0, "
        "*sys.version_info[:3])"
    )
    for program in sorted({p.resolve() for folder in folders for p in folder.glob("python3.[1-9][0-9]")}):
        run = subprocess.run([program, "-c", ask], capture_output=True, text=True)
        kind, version = run.stdout.split()[:2], tuple(map(int, run.stdout.split()[2:]))
        if kind == ["cpython", "0"] and version >= (3, 10):
            found.setdefault(version, str(program))
    return dict(sorted(found.items()))


PYTHONS = found_pythons()


def pytest_report_header():
    """Which of them are tried is to be seen: on a machine with one Python it is that one only."""
    names = [".".join(map(str, version)) for version in PYTHONS]
    return f"Pythons that get the wheel (test_pythons.py): {', '.join(names)}"


def until(what, look, patience=PATIENCE):
    """Waits until ``look`` returns something true, and returns that."""
    deadline = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)
    return found


def throughout(seconds, look):
    """Looks again and again, to see that something does not happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        look()
        time.sleep(0.005)


def blocks_of(document, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.M | re.S)


def documented(text):
    """The block of Python in docs/python.md that has this text in it."""
    (block,) = [block for block in blocks_of("docs/python.md", "python") if text in block]
    return block


class Folder:
    """The signals of one test."""

    def __init__(self, path):
        self.path = path

    def files(self, agent):
        return sorted((self.path / agent).glob("*.json"))

    def record(self, agent):
        (file,) = self.files(agent)
        return json.loads(file.read_text())

    def says(self, agent):
        """What the probe says of the agent: its first line, without its name."""
        run = subprocess.run(
            [PROBE, f"agent:{agent}"], capture_output=True, text=True, env=self.environment()
        )
        assert run.stderr == ""
        return run.stdout.splitlines()[0]

    def until_says(self, agent, part, patience=PATIENCE):
        last = ""

        def look():
            nonlocal last
            last = self.says(agent)
            return part in last

        deadline = time.monotonic() + patience
        while not look():
            assert time.monotonic() < deadline, f"{agent} never says {part!r}, but {last!r}"
            time.sleep(0.01)

    def environment(self, **more):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("READY_", "REDIS_", "NATS_"))}
        path = f"{PROBE.parent}:{kept['PATH']}"
        return {**kept, "PATH": path, "READY_DIR": str(self.path), **more}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The test's own folder of signals, for this process, too."""
    folder = Folder(tmp_path / "signals")
    for name in list(os.environ):
        if name.startswith(("READY_", "REDIS_", "NATS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("READY_DIR", str(folder.path))
    return folder


@pytest.fixture
def memory(folder, monkeypatch):
    """The same in shared memory, where signals are as a rule: for what is timed. On a disk that is
    busy, replacing a file takes milliseconds."""
    with tempfile.TemporaryDirectory(prefix="ready-probe-tests-", dir="/dev/shm") as path:
        monkeypatch.setattr(folder, "path", Path(path) / "signals")
        monkeypatch.setenv("READY_DIR", str(folder.path))
        yield folder


class Program:
    """Python code in a process of its own, with lines in and out."""

    def __init__(self, code, folder, *, options=(), **environment):
        self.process = subprocess.Popen(
            [sys.executable, *options, "-c", textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=folder.environment(PYTHONUNBUFFERED="1", PYTHONFAULTHANDLER="1", **environment),
        )
        self.overdue = threading.Timer(LIFETIME, self.process.send_signal, [signal.SIGABRT])
        self.overdue.daemon = True
        self.overdue.start()

    @property
    def pid(self):
        return self.process.pid

    def reads(self):
        """The next line that it prints."""
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"it ended: {self.process.stderr.read()}")
        return line.rstrip("\n")

    def tell(self, line=""):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self):
        """Waits for its end: its status, and whatever else it printed."""
        try:
            out, err = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            pytest.fail(f"it hangs: {out}{err}")
        return self.process.returncode, out, err


@pytest.fixture
def start(folder):
    """Starts programs, and ends what is left of them."""
    programs = []

    def start(code, **more):
        program = Program(code, folder, **more)
        programs.append(program)
        return program

    yield start
    for program in programs:
        program.overdue.cancel()
        if program.process.poll() is None:
            program.process.kill()
        for pipe in (program.process.stdin, program.process.stdout, program.process.stderr):
            pipe.close()
        program.process.wait()


@pytest.fixture
def run(start):
    """Runs a program to its end, which must be a good one, and returns what it printed."""

    def run(code, *, status=0, err="", **more):
        program = start(code, **more)
        got_status, got_out, got_err = program.end()
        assert (got_status, got_err) == (status, err), got_out
        return got_out

    return run


# One call into C that never ends and never gives up the GIL: what is called is C as well, so that the
# interpreter's loop, where the GIL is handed over, never gets its turn.
COMPUTE = "import time; any(map(float('inf').__le__, iter(time.monotonic, None)))"


# Below those that the kernel takes for outgoing connections, and beside those of the tests in Rust. The
# processes of pytest do not walk them in step.
PORTS = range(5_000, 12_000)
_next_port = itertools.count(random.randrange(len(PORTS)))


def free_port():
    """Nobody listens on it now, and no other test of this process is given it."""
    for step in _next_port:
        port = PORTS[step % len(PORTS)]
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Server:
    """A real server on a port of its own, which can be stopped and started again."""

    def __init__(self, scheme, command):
        self.port = free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._command = [part.replace("PORT", str(self.port)) for part in command]
        self._process = None

    def start(self):
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(f"{self.url} answers", self._answers)

    def pause(self):
        """The kernel still takes connections and data; nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def stop(self):
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self):
        run = subprocess.run([PROBE, "-q", self.url], stdout=subprocess.DEVNULL)
        return run.returncode == 0


def _program(name, *places):
    path = os.pathsep.join([*map(str, places), os.environ["PATH"], "/usr/sbin"])
    found = shutil.which(name, path=path)
    assert found, f"{name} is missing: run `make setup` in {ROOT}"
    return found


@pytest.fixture
def redis():
    server = Server(
        "redis", [_program("redis-server"), "--port", "PORT", "--save", "", "--bind", "127.0.0.1"]
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def nats(tmp_path):
    program = _program("nats-server", ROOT / "target/venv/bin")
    command = [program, "-a", "127.0.0.1", "-p", "PORT", "-js", "-sd", str(tmp_path / "jetstream")]
    server = Server("nats", command)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def broker():
    """One Redis for all tests that only need a queue."""
    program, databases = _program("redis-server"), ["--databases", "100"]
    server = Server("redis", [program, "--port", "PORT", "--save", "", "--bind", "127.0.0.1", *databases])
    server.start()
    yield server
    server.stop()


_databases = itertools.count()


@pytest.fixture
def database(broker):
    """The URL of a database of the test's own."""
    return f"{broker.url}/{next(_databases)}"
