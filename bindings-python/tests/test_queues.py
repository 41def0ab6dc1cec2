"""dramatiq, RQ and arq, with what docs/celery.md says for them, on a real broker."""

import os
import re
import signal
import subprocess
import sys

import pytest
from redis import Redis
from rq import Queue

from conftest import ROOT, until

HEALTHY = "healthy: 1 check passes"

# arq wants an older redis-py than the others: both lie in a folder of their own, where `make python-venv` puts them.
ARQ = ROOT / "target/arq"

# Tells who runs it, and hangs until a file is there.
HANG = """
def hang(file):
    import os, time
    from pathlib import Path

    Path(f"{file}.begun").write_text(str(os.getpid()))
    while not Path(file).exists():
        time.sleep(0.02)
"""


def documented(heading, limit):
    """The code below a heading of the document, with another limit."""
    text = (ROOT / "docs/celery.md").read_text()
    code = re.search(rf"^## {heading}\n.*?^```python\n(.*?)^```", text, re.M | re.S)[1]
    assert limit in code
    return code.replace(limit, "watchdog=1")


@pytest.fixture
def launch(folder, tmp_path):
    """Starts a worker, and ends it with its children, which are in its process group."""
    started = []

    def launch(*command, path=()):
        searched = os.pathsep.join(map(str, [tmp_path, *path]))
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=tmp_path,
                env=folder.environment(PYTHONPATH=searched, PYTHONWARNINGS=""),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield launch
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def begun(file):
    """The process that runs the task."""
    begun = file.with_suffix(".begun")
    return int(until(f"{file} begins", lambda: begun.exists() and begun.read_text()))


def test_dramatiq_a_hung_process_of_two_is_found(launch, folder, tmp_path, database):
    broker = f"""
from dramatiq.brokers.redis import RedisBroker

broker = RedisBroker(url="{database}")
broker.add_middleware(Readiness())
dramatiq.set_broker(broker)
"""
    (tmp_path / "tasks.py").write_text(
        documented("dramatiq", "watchdog=60") + broker + HANG + "\n\nhang = dramatiq.actor(hang)\n"
    )
    worker = launch("dramatiq", "tasks", "--processes=2", "--threads=2")
    folder.until_says("dramatiq#min=2", HEALTHY, patience=60)

    file = tmp_path / "file"
    send = f"import tasks; tasks.hang.send({str(file)!r})"
    subprocess.run([sys.executable, "-c", send], cwd=tmp_path, env=folder.environment(), check=True)
    hung = begun(file)
    folder.until_says("dramatiq#min=2", "1 of 2 instances ready, 2 needed; not_ready: stalled: no progress for")
    assert folder.says("dramatiq").startswith("degraded: agent dramatiq: 1 of 2 instances ready; not_ready: stalled")
    file.touch()
    folder.until_says("dramatiq#min=2", HEALTHY)

    # The container ends, and is started again.
    os.kill(hung, signal.SIGKILL)
    assert worker.wait(60) == 1


def test_rq_a_worker_whose_job_takes_too_long_is_stalled_and_a_draining_one_says_so(
    launch, folder, tmp_path, database
):
    (tmp_path / "readiness.py").write_text(documented("RQ", "watchdog=600"))
    (tmp_path / "jobs.py").write_text(HANG)
    options = ["--url", database, "--path", str(tmp_path), "--worker-class", "readiness.ReadyWorker"]
    worker = launch("rq.cli", "worker", *options)
    folder.until_says("rq", HEALTHY, patience=60)

    files = [tmp_path / "one", tmp_path / "two"]
    with Redis.from_url(database) as connection:
        for file in files:
            Queue(connection=connection).enqueue("jobs.hang", str(file))
    assert begun(files[0]) != worker.pid
    folder.until_says("rq", "stalled: no progress for")
    files[0].touch()
    begun(files[1])
    worker.send_signal(signal.SIGTERM)
    folder.until_says("rq", "stopping: warm shutdown")
    files[1].touch()
    assert worker.wait(60) == 0
    assert folder.files("rq") == []


def test_arq_a_hung_job_is_found_beside_one_that_ticks(launch, folder, tmp_path, database):
    assert (ARQ / "arq").is_dir(), f"arq is missing: run `make python-venv` in {ROOT}"
    jobs = f"""
import asyncio
from pathlib import Path

from arq.connections import RedisSettings


async def hang(context, file, ticks):
    Path(f"{{file}}.begun").touch()
    while not Path(file).exists():
        await asyncio.sleep(0.02)
        if ticks:
            context["agent"].tick()


WorkerSettings.redis_settings = RedisSettings.from_dsn({database!r})
"""
    jobs += "WorkerSettings.functions = [hang]\n"
    (tmp_path / "jobs.py").write_text(documented("arq", "watchdog=10") + jobs)
    worker = launch("arq", "jobs.WorkerSettings", path=[ARQ])
    folder.until_says("arq", HEALTHY, patience=60)

    send = """
import asyncio, sys, arq, jobs


async def send():
    pool = await arq.create_pool(jobs.WorkerSettings.redis_settings)
    await pool.enqueue_job("hang", sys.argv[1], "ticks" in sys.argv)
    await pool.aclose()


asyncio.run(send())
"""
    environment = folder.environment(PYTHONPATH=os.pathsep.join([str(tmp_path), str(ARQ)]), PYTHONWARNINGS="")

    def begin(file, *ticks):
        subprocess.run([sys.executable, "-c", send, str(file), *ticks], env=environment, check=True)
        until(f"{file} begins", file.with_suffix(".begun").exists)

    ticking, hung = tmp_path / "ticking", tmp_path / "hung"
    begin(ticking, "ticks")
    begin(hung)
    # Not in both: of a machine that stood still for longer than the limit that is said for a moment only.
    folder.until_says("arq", "in 1 of 2 calls (limit 1s)")
    hung.touch()
    folder.until_says("arq", HEALTHY)
    ticking.touch()
    # A job that is under way at SIGTERM is broken off.
    until("both jobs end", lambda: (tmp_path / "log").read_text().count(" ● ") == 2)
    worker.send_signal(signal.SIGTERM)
    # With which status is arq's affair.
    worker.wait(60)
    assert folder.files("arq") == []
