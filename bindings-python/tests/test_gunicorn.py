"""gunicorn, which forks its workers from a process that has loaded the application with --preload."""

import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from conftest import PATIENCE, free_port, until

APP = """
import ready_probe

agent = ready_probe.Agent("master")
agent.mark_ready()
ready_probe.mark_agent_ready("preloaded")


def refused(call):
    try:
        call()
    except ready_probe.ForkedProcessError:
        return
    raise AssertionError("an agent of the master's was the worker's")


def begin(worker):
    # The third worker publishes nothing.
    if worker.age == 3:
        return
    refused(agent.mark_ready)
    refused(agent.tick)
    refused(agent.close)
    refused(lambda: ready_probe.mark_agent_not_ready("preloaded", "the worker says so"))
    ready_probe.mark_agent_ready("worker", {"age": worker.age})


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""

CONFIG = """
def post_worker_init(worker):
    import app

    app.begin(worker)
"""


@pytest.fixture
def master(folder, tmp_path):
    """gunicorn with three workers, and the URL of its application."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "conf.py").write_text(CONFIG)
    port = free_port()
    command = ["-m", "gunicorn", "--preload", "--config", "conf.py", "--workers", "3", "--no-control-socket"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--bind", f"127.0.0.1:{port}", "app:app"],
            cwd=tmp_path,
            env=folder.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    process.url = f"http://127.0.0.1:{port}/"
    process.log = tmp_path / "log"
    yield process
    if process.poll() is None:
        # Its workers, too, which are in its process group.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def workers(folder):
    """The processes that publish as a worker."""
    return {int(file.name.split("-")[0]) for file in folder.files("worker")}


def test_with_preload_workers_publish_their_own_and_the_master_s_stay_its_own(master, folder):
    until("two workers publish", lambda: len(workers(folder)) == 2)
    with urllib.request.urlopen(master.url, timeout=PATIENCE) as answer:
        assert answer.read() == b"hello"
    for name in ("master", "preloaded", "worker"):
        assert folder.says(name) == "healthy: 1 check passes"
    for name in ("master", "preloaded"):
        assert folder.record(name)["pid"] == master.pid

    # A worker that dies is replaced, and so is its signal.
    before = workers(folder)
    os.kill(min(before), signal.SIGKILL)
    until("another one publishes", lambda: workers(folder) - before)
    folder.until_says("worker", "healthy: 1 check passes")
    assert min(before) not in workers(folder)

    master.send_signal(signal.SIGTERM)
    assert master.wait(PATIENCE) == 0
    for name in ("master", "preloaded", "worker"):
        assert folder.files(name) == []
    log = master.log.read_text()
    assert "Traceback" not in log and "Exception" not in log, log
    # None of them had to be killed since it would not end.
    assert log.count("Worker exiting") == 3, log


def test_with_preload_a_worker_that_ends_leaves_the_master_s_signals_alone(master, folder):
    until("two workers publish", lambda: len(workers(folder)) == 2)
    before = workers(folder)
    # What gunicorn itself does to end a worker well.
    os.kill(min(before), signal.SIGTERM)
    until("another one publishes", lambda: len(workers(folder)) == 2 and workers(folder) != before)
    for name in ("master", "preloaded", "worker"):
        assert folder.says(name) == "healthy: 1 check passes"
    master.send_signal(signal.SIGTERM)
    assert master.wait(PATIENCE) == 0
    for name in ("master", "preloaded", "worker"):
        assert folder.files(name) == []
