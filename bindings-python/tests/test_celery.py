"""examples/celery, with real pools on a real broker."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
from celery import Celery

from conftest import PROBE, ROOT, until

EXAMPLE = ROOT / "examples/celery"

# The example's application, and a task that hangs until a file is there, or ticks while another one is. It tells who
# runs it.
TASKS = """
import os
import threading
import time
from pathlib import Path

import readiness
from tasks import app


@app.task(bind=True)
def hang(self, file):
    assert self.request.id
    Path(f"{file}.begun").write_text(str(os.getpid()))
    while not Path(file).exists():
        time.sleep(0.02)
        if Path(f"{file}.ticks").exists():
            readiness.tick()
    Path(f"{file}.done").touch()
"""


class Worker:
    """Celery's worker with its children, which are in its process group, and whoever sends it tasks."""

    def __init__(self, place, folder, broker, options, app, environment):
        self.place = place
        self.folder = folder
        self.log = place / "log"
        self.broker = broker
        self._sender = Celery(broker=broker)
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "--app", app, "worker", *quiet, *options],
                cwd=place,
                env=folder.environment(
                    CELERY_BROKER_URL=broker,
                    PYTHONPATH=str(EXAMPLE),
                    PYTHONDONTWRITEBYTECODE="1",
                    PYTHONWARNINGS="",
                    **environment,
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def children(self):
        """The processes that publish as its pool."""
        return {int(file.name.split("-")[0]) for file in self.folder.files("celery-pool")}

    @property
    def control(self):
        return self._sender.control

    def send(self, task, *arguments):
        self._sender.send_task(task, arguments)

    def hang(self, name):
        """Has a task hang; returns what ends that, and the process that runs it."""
        file = self.place / name
        self.send("app.hang", str(file))
        begun = self.place / f"{name}.begun"
        pid = int(until(f"{name} begins", lambda: begun.exists() and begun.read_text()))
        return file, pid

    def listed(self, agent):
        """The state that `ready-probe list` tells of each process of the agent."""
        command = [PROBE, "list", "--format=json", agent]
        listed = subprocess.run(command, env=self.folder.environment(), capture_output=True, text=True)
        return {row["pid"]: row["state"] for row in json.loads(listed.stdout)["signals"]}

    def health_check(self):
        """What the health check says with what the document sets for it."""
        (line,) = re.findall(r"^ENV (READY_.*)", (ROOT / "docs/celery.md").read_text(), re.M)
        settings = dict(setting.split("=", 1) for setting in shlex.split(line))
        environment = self.folder.environment(CELERY_BROKER_URL=self.broker, **settings)
        check = subprocess.run([PROBE], env=environment, capture_output=True, text=True)
        return check.stdout.splitlines()[0]

    def until_ready(self, *agents):
        # Starting Celery is what takes its time.
        for agent in agents:
            self.folder.until_says(agent, HEALTHY, patience=60)

    def end(self):
        """Ends it as `docker stop` does."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0

    def close(self):
        self._sender.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def worker(folder, tmp_path, database):
    """Starts workers of ``app.py``, and ends what is left of them."""
    workers = []

    def worker(*options, tasks=TASKS, broker=database, **environment):
        (tmp_path / "app.py").write_text(tasks)
        worker = Worker(tmp_path, folder, broker, options, "app", environment)
        workers.append(worker)
        return worker

    yield worker
    for worker in workers:
        worker.close()


HEALTHY = "healthy: 1 check passes"
BOTH = "celery-pool#min=2"


def test_prefork_a_hung_child_is_named_and_a_killed_one_is_missed_until_it_is_replaced(worker, folder):
    celery = worker("--concurrency=2", TASK_LIMIT="1")
    celery.until_ready("celery", BOTH)
    assert celery.health_check() == "healthy: 3 checks pass"

    file, hung = celery.hang("file")
    folder.until_says(BOTH, "1 of 2 instances ready, 2 needed; not_ready: stalled: no progress for")
    # Which one: the list names the process, and Celery's log the child.
    (idle,) = celery.children - {hung}
    listed = celery.listed("celery-pool")
    assert listed == {hung: "stalled", idle: "ready"}
    until("it is logged", lambda: re.search(r"ForkPoolWorker-.*agent celery-pool: .*stalled", celery.log.read_text()))
    # The other one is idle, and the worker takes tasks.
    assert folder.says("celery-pool").startswith("degraded: agent celery-pool: 1 of 2 instances ready; not_ready: stalled")
    assert folder.says("celery") == HEALTHY
    file.touch()
    folder.until_says(BOTH, HEALTHY)

    # Celery replaces it within a second or so, unless it is stopped.
    celery.process.send_signal(signal.SIGSTOP)
    os.kill(idle, signal.SIGKILL)
    folder.until_says(BOTH, f"1 of 2 instances ready, 2 needed; process {idle} has died and is a zombie")
    celery.process.send_signal(signal.SIGCONT)
    folder.until_says(BOTH, HEALTHY)
    assert idle not in celery.children and hung in celery.children

    celery.end()
    assert folder.files("celery") == folder.files("celery-pool") == []
    assert "Traceback" not in celery.log.read_text()


def test_a_child_that_has_run_its_number_of_tasks_leaves_no_signal_behind(worker, folder):
    celery = worker("--concurrency=1", "--max-tasks-per-child=1")
    celery.until_ready("celery", "celery-pool")
    file, first = celery.hang("file")
    file.touch()

    def replaced():
        said = folder.says("celery-pool")
        assert said == HEALTHY or "no signal" in said or "stopping: " in said or "starting" in said, said
        return said == HEALTHY and first not in celery.children

    until("another one has taken its place", replaced)


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_one_hung_task_of_a_pool_without_processes_is_found_while_others_run(worker, folder, pool):
    celery = worker(f"--pool={pool}", "--concurrency=4", TASK_LIMIT="1")
    celery.until_ready("celery", "celery-pool")
    file, pid = celery.hang("file")
    assert pid == celery.process.pid
    folder.until_says("celery-pool", "stalled: no progress for")
    # Tasks of others go on, and do not hide it.
    for other in ("one", "another"):
        path = celery.place / other
        path.touch()
        celery.hang(other)
        until("it is done", path.with_suffix(".done").exists)
        assert "stalled: no progress for" in folder.says("celery-pool")
    file.touch()
    folder.until_says("celery-pool", HEALTHY)
    celery.end()
    assert folder.files("celery") == folder.files("celery-pool") == []


def test_solo_is_stalled_while_its_task_makes_no_progress(worker, folder):
    celery = worker("--pool=solo", TASK_LIMIT="1")
    celery.until_ready("celery", "celery-pool")
    file, _ = celery.hang("file")
    folder.until_says("celery-pool", "stalled: no progress for")
    file.with_suffix(".ticks").touch()
    folder.until_says("celery-pool", HEALTHY)
    file.with_suffix(".ticks").unlink()
    folder.until_says("celery-pool", "stalled: no progress for")
    file.touch()
    folder.until_says("celery-pool", HEALTHY)
    celery.end()
    assert folder.files("celery") == folder.files("celery-pool") == []


def test_a_broker_that_is_away_for_too_long_is_a_stall_of_the_worker(worker, folder, redis):
    celery = worker("--concurrency=1", broker=redis.url, BROKER_LIMIT="0.5")
    celery.until_ready("celery", "celery-pool")
    redis.stop()
    folder.until_says("celery", "stalled: no progress for")
    assert folder.says("celery-pool") == HEALTHY
    redis.start()
    folder.until_says("celery", HEALTHY, patience=60)


def test_a_worker_that_drains_says_so_until_its_task_is_done(worker, folder):
    celery = worker("--concurrency=1")
    celery.until_ready("celery", "celery-pool")
    file, _ = celery.hang("file")
    celery.process.send_signal(signal.SIGTERM)
    folder.until_says("celery", "stopping: warm shutdown")
    file.touch()
    # Not its end: a child whose task ends just now may take another 30 s, for a reason of billiard's.
    until("the task is done", file.with_suffix(".done").exists)


def test_a_worker_that_is_shut_down_by_remote_control_says_so_until_its_task_is_done(worker, folder):
    celery = worker("--pool=threads")
    celery.until_ready("celery", "celery-pool")
    file, _ = celery.hang("file")
    celery.control.shutdown()
    folder.until_says("celery", "stopping: shutdown")
    file.touch()
    assert celery.process.wait(60) == 0
    assert folder.files("celery") == []


# What people try first: docs/celery.md says where that leads.
NATURAL = """
import os
import time
from pathlib import Path

from celery import Celery

from ready_probe import Agent

app = Celery("app", broker=os.environ["CELERY_BROKER_URL"])
agent = Agent("natural", watchdog=1)


@app.task(bind=True)
@agent.progress
def hang(self, file):
    assert self.request.id
    Path(f"{file}.begun").write_text(str(os.getpid()))
    while not Path(file).exists():
        time.sleep(0.02)
    agent.tick()
    Path(f"{file}.done").touch()


agent.mark_ready()
"""


def test_a_module_level_agent_fails_no_task_of_prefork_and_says_once_what_to_do(worker, folder):
    celery = worker("--concurrency=1", tasks=NATURAL)
    celery.until_ready("natural")
    for name in ("one", "two"):
        file = celery.place / name
        file.touch()
        _, pid = celery.hang(name)
        assert pid != celery.process.pid
        until(f"{name} is done", file.with_suffix(".done").exists)
    said = [line for line in celery.log.read_text().splitlines() if "agent natural belongs to process" in line]
    assert len(said) == 1 and "ForkPoolWorker-1" in said[0] and "Celery: worker_process_init" in said[0], said
    # Nobody watches the children: it is the parent's.
    assert folder.record("natural")["pid"] == celery.process.pid


def test_a_module_level_agent_watches_the_tasks_of_threads(worker, folder):
    celery = worker("--pool=threads", "--concurrency=2", tasks=NATURAL)
    celery.until_ready("natural")
    file, _ = celery.hang("file")
    folder.until_says("natural", "stalled: no progress for")
    file.touch()
    folder.until_says("natural", HEALTHY)


def test_whoever_only_sends_tasks_is_no_agent(run, folder, database):
    run(
        "import tasks; tasks.add.delay(1, 2); assert tasks.add(1, 2) == 3",
        CELERY_BROKER_URL=database,
        PYTHONPATH=str(EXAMPLE),
        PYTHONDONTWRITEBYTECODE="1",
    )
    assert not folder.path.exists() or list(folder.path.iterdir()) == []
