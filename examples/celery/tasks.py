"""An application with two tasks: `celery --app tasks worker --concurrency 2`."""

import os
import time

from celery import Celery

import readiness

app = Celery("tasks", broker=os.environ.get("CELERY_BROKER_URL", "redis://localhost"), task_cls=readiness.Watched)
app.steps["consumer"].add(readiness.Consuming)


@app.task
def add(a, b):
    return a + b


@app.task
def train(epochs):
    for _ in range(epochs):
        time.sleep(1)  # … one epoch …
        readiness.tick()
