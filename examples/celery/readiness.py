"""Celery's processes as agents. It belongs to no application: copy it beside yours.

    app = Celery("tasks", task_cls=readiness.Watched)
    app.steps["consumer"].add(readiness.Consuming)

`celery` is the worker: ready once it takes tasks from its broker. `celery-pool` is each process that runs
them: a child of prefork; with threads, gevent and solo the worker itself.

No agent is made when this is imported: whoever sends tasks imports it, too, and prefork's children can't use
an agent that was made before the fork.
"""

import os

from celery import Task, bootsteps
from celery.concurrency import prefork
from celery.signals import worker_process_init, worker_process_shutdown, worker_shutting_down
from celery.worker import state

from ready_probe import Agent

# Seconds. A task that takes longer has to call `tick` at least this often.
TASK_LIMIT = float(os.environ.get("TASK_LIMIT", "60"))
# How long the broker may be away. As long as the probe tolerates it: a restart brings no broker back.
BROKER_LIMIT = float(os.environ.get("BROKER_LIMIT", "180"))

_worker = None
# Nobody where tasks are only sent, and in prefork's parent.
_pool = None


def tick():
    """A long task calls this for each part of its work."""
    if _pool is not None:
        _pool.tick()


class Watched(Task):
    """A task is work: while it runs, its process has to make progress."""

    abstract = True

    def __call__(self, *args, **kwargs):
        if _pool is None:
            return super().__call__(*args, **kwargs)
        with _pool.working():
            return super().__call__(*args, **kwargs)


class Consuming(bootsteps.StartStopStep):
    """Started whenever the worker has subscribed to its queues; stopped when it loses its broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer, **options):
        global _worker
        super().__init__(consumer, **options)
        _worker = _idle("celery", BROKER_LIMIT)
        self._lost = False
        if not isinstance(consumer.pool, prefork.TaskPool):
            _begin_pool()

    def start(self, consumer):
        if _worker.state == "stopping":
            return
        if self._lost:
            _worker.disarm()
            self._lost = False
        _worker.mark_ready()

    def stop(self, consumer):
        if _ends(consumer):
            # Also if no signal told of it, as when a remote control asks for it.
            _worker.mark_stopping("shutdown")
            return
        # Connecting again is work, too; Celery's log says how it goes.
        if not self._lost and _worker.state == "ready":
            _worker.arm()
            self._lost = True


@worker_process_init.connect
def _begin_pool(**_):
    global _pool
    # Solo sends the signal in the worker's own process.
    if _pool is None:
        _pool = _idle("celery-pool", TASK_LIMIT)
        _pool.mark_ready()


def _idle(name, limit):
    agent = Agent(name, watchdog=limit)
    # Until work begins: waiting for a task is no hang.
    agent.disarm()
    return agent


def _ends(consumer):
    # A remote control that shuts the worker down sets neither status.
    is_asked = _is_set(state.should_stop) or _is_set(state.should_terminate)
    return is_asked or consumer.controller.blueprint.state != bootsteps.RUN


def _is_set(status):
    # Celery keeps an exit status there: 0 is one.
    return status is not None and status is not False


@worker_shutting_down.connect
def _drain(how, **_):
    # Tasks that are under way are finished meanwhile. There is none before the worker has its consumer.
    if _worker is not None:
        _worker.mark_stopping(f"{how.lower()} shutdown")


@worker_process_shutdown.connect
def _end_child(**_):
    # As after --max-tasks-per-child: billiard ends its processes without their exit hooks.
    if _pool is not None:
        _pool.close()
