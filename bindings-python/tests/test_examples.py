"""The examples and the documents' Python, as they stand."""

import signal
import subprocess
import sys
import urllib.request

import pytest

from conftest import PATIENCE, ROOT, blocks_of, free_port, until

EXAMPLES = ROOT / "examples/python"


@pytest.fixture
def launch(folder):
    """Starts a program of the examples, and ends what is left of it."""
    started = []

    def launch(*command):
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=EXAMPLES,
            env=folder.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        if process.poll() is None:
            process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
        process.wait()


def tell(process, line):
    process.stdin.write(line + "\n")
    process.stdin.flush()


def test_the_plain_agent(launch, folder):
    process = launch("plain_agent.py")
    folder.until_says("YourAgent", "healthy: 1 check passes")
    details = folder.record("YourAgent")["details"]
    assert (details["port"], details["health_port"]) == (5555, 6555)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert process.stderr.read() == ""
    assert folder.files("YourAgent") == []


def test_the_asyncio_agent(launch, folder):
    process = launch("asyncio_agent.py")
    folder.until_says("asyncio-agent", "healthy: 1 check passes")
    tell(process, "block")
    folder.until_says("asyncio-agent", "stalled: no progress for")
    assert process.stdout.readline() == "done block\n"
    folder.until_says("asyncio-agent", "healthy: 1 check passes")
    process.stdin.close()
    assert process.wait(PATIENCE) == 0
    assert folder.files("asyncio-agent") == []


def test_the_service(launch, folder):
    port = free_port()
    process = launch("-m", "uvicorn", "service:app", "--port", str(port), "--log-level", "warning")
    folder.until_says("service", "healthy: 1 check passes")

    def answer():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as reply:
                return reply.read()
        except OSError:
            return None

    # Its start-up has ended before its socket is open.
    assert until("it answers", answer) == b'{"hello":"world"}'
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)
    assert folder.files("service") == []


def test_the_workers(launch, folder):
    process = launch("workers.py")
    for worker in ("worker-1", "worker-2"):
        folder.until_says(worker, "healthy: 1 check passes")
    tell(process, "sleep 3")
    stalled = until(
        "one is stalled", lambda: [n for n in (1, 2) if "stalled" in folder.says(f"worker-{n}")]
    )
    (other,) = {1, 2} - set(stalled)
    assert folder.says(f"worker-{other}") == "healthy: 1 check passes"
    folder.until_says(f"worker-{stalled[0]}", "healthy: 1 check passes")
    process.stdin.close()
    assert process.wait(PATIENCE) == 0
    assert folder.files("worker-1") == folder.files("worker-2") == []


@pytest.mark.parametrize("document", ["README.md", "docs/recipes.md", "bindings-python/README.md", "docs/python.md"])
def test_the_python_of_documents_runs_as_it_stands(run, document):
    blocks = blocks_of(document, "python")
    assert blocks
    for block in blocks:
        run(block)


def test_the_documented_dockerfile_is_that_of_the_examples():
    block = blocks_of("docs/python.md", "dockerfile")[0]
    dockerfile = (EXAMPLES / "Dockerfile").read_text().splitlines()
    first, *steps = block.splitlines()
    assert f"ARG BASE={first.removeprefix('FROM ')}" in dockerfile
    assert [line for line in dockerfile if line in steps][: len(steps)] == steps
