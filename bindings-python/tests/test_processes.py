"""What docs/python.md says of servers with several processes, and of work that fails or hangs unseen."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import PATIENCE, documented, free_port, until

HEALTHY = "healthy: 1 check passes"


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


@pytest.fixture
def serve(folder, tmp_path):
    """Starts a server of the test's own modules, and ends it with all its processes."""
    started = []

    def serve(*command, **modules):
        for name, code in modules.items():
            (tmp_path / f"{name}.py").write_text(code)
        port = free_port()
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *(part.replace("PORT", str(port)) for part in command)],
                cwd=tmp_path,
                env=folder.environment(PYTHONDONTWRITEBYTECODE="1", PYTHONWARNINGS=""),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process.url = f"http://127.0.0.1:{port}"
        process.log = tmp_path / "log"
        started.append(process)
        return process

    yield serve
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


# Hangs until a file is there, and tells who does.
HANG = """
import os
import time
from pathlib import Path


def hang(file):
    Path("begun").write_text(str(os.getpid()))
    while not Path(file).exists():
        time.sleep(0.02)
    return "done"
"""

WSGI = """
from hang import hang


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [(hang("released") if environ["PATH_INFO"] == "/hang" else "hello").encode()]
"""

GUNICORN = ["gunicorn", "--workers=2", "--no-control-socket", "--bind=127.0.0.1:PORT", "app:app"]


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["plain", "preload"])
def test_each_worker_of_gunicorn_is_an_instance_and_a_hung_one_is_found(serve, folder, tmp_path, preload):
    conf = documented("post_worker_init")
    assert "watchdog=20" in conf
    conf = conf.replace("watchdog=20", "watchdog=1")
    gunicorn = serve(*GUNICORN, "--config=conf.py", *preload, conf=conf, app=WSGI, hang=HANG)
    folder.until_says("web#min=2", HEALTHY, patience=60)
    assert get(gunicorn.url) == "hello"

    with ThreadPoolExecutor() as threads:
        answer = threads.submit(get, f"{gunicorn.url}/hang")
        try:
            folder.until_says("web#min=2", "1 of 2 instances ready, 2 needed; not_ready: stalled: no progress for")
        finally:
            (tmp_path / "released").touch()
        assert answer.result() == "done"
    folder.until_says("web#min=2", HEALTHY)

    # gunicorn replaces it at once, unless it is stopped.
    killed = int((tmp_path / "begun").read_text())
    gunicorn.send_signal(signal.SIGSTOP)
    os.kill(killed, signal.SIGKILL)
    folder.until_says("web#min=2", f"1 of 2 instances ready, 2 needed; process {killed} has died and is a zombie")
    gunicorn.send_signal(signal.SIGCONT)
    folder.until_says("web#min=2", HEALTHY)

    gunicorn.send_signal(signal.SIGTERM)
    assert gunicorn.wait(PATIENCE) == 0
    assert folder.files("web") == []


def test_a_module_level_agent_fails_no_request_under_preload_and_says_once_what_to_do(serve, folder):
    app = """
from ready_probe import Agent

agent = Agent("natural", watchdog=10)


@agent.progress
def app(environ, start_response):
    agent.tick()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


agent.mark_ready()
"""
    command = [part.replace("--workers=2", "--workers=1") for part in GUNICORN]
    gunicorn = serve(*command, "--preload", app=app)
    folder.until_says("natural", HEALTHY, patience=60)
    until("it listens", lambda: "Booting worker" in gunicorn.log.read_text())
    assert [get(gunicorn.url) for _ in range(3)] == ["hello"] * 3
    assert gunicorn.log.read_text().count(f"agent natural belongs to process {gunicorn.pid}") == 1


def test_a_reloader_makes_two_agents_of_one_and_the_documented_condition_leaves_one(serve, folder):
    block = documented("WERKZEUG_RUN_MAIN")
    condition = re.search(r"^if not app.debug.*:$", block, re.M)[0]
    flask = ["flask", "--app=app", "run", "--debug", "--port=PORT"]

    serve(*flask, app=block.replace(condition, "if True:").replace('"web"', '"both"'))
    folder.until_says("both#min=2", HEALTHY, patience=60)
    one = serve(*flask, app=block)
    folder.until_says("web", HEALTHY, patience=60)
    # A successor, after a reload, publishes before it removes what the one before it has left.
    until("one is left", lambda: len(folder.files("web")) == 1)
    (file,) = folder.files("web")
    assert int(file.name.split("-")[0]) != one.pid


def test_hung_threads_of_endpoints_are_found_by_the_documented_watch(serve, folder, tmp_path):
    # Two threads instead of forty.
    service = documented("watch_threads").replace("watchdog=10", "watchdog=1").replace("sleep(1)", "sleep(0.1)")
    ready = "        await agent.mark_ready()\n"
    assert ready in service
    service = service.replace(ready, f"        current_default_thread_limiter().total_tokens = 2\n{ready}")
    service = f"""
from anyio.to_thread import current_default_thread_limiter
from hang import hang
from ready_probe import find_agent
{service}

@app.get("/hang/{{file}}")
def endpoint(file: str):
    return hang(file)

@app.get("/watched/{{file}}")
def watched(file: str):
    with find_agent("service").working():
        return hang(file)
"""
    uvicorn = serve("uvicorn", "service:app", "--port=PORT", service=service, hang=HANG)
    until("it listens", lambda: "Uvicorn running on" in uvicorn.log.read_text(), patience=60)
    folder.until_says("service", HEALTHY)

    def hangs(file, *paths):
        with ThreadPoolExecutor() as threads:
            answers = [threads.submit(get, f"{uvicorn.url}/{path}/{file}") for path in paths]
            try:
                folder.until_says("service", "stalled: no progress for")
            finally:
                (tmp_path / file).touch()
            assert [answer.result() for answer in answers] == ['"done"' for _ in paths]
        folder.until_says("service", HEALTHY)

    hangs("all", "hang", "hang")
    hangs("one", "watched")
    uvicorn.send_signal(signal.SIGTERM)
    uvicorn.wait(PATIENCE)
    assert folder.files("service") == []


def test_the_exception_of_a_task_in_a_group_is_what_the_agent_says(start, folder):
    program = start(documented("TaskGroup") + '\nprint("ended", flush=True)\ninput()\n')
    assert program.reads() == "ended"
    assert "stopping: ConnectionError: no more jobs" in folder.says("consumer")
