"""The example service under real servers: it says ``stopping`` from SIGTERM on, while a request is in
flight."""

import signal
import subprocess
import sys
import threading
import urllib.request

import pytest

from conftest import PATIENCE, ROOT, free_port, until

# The example, with a request that takes as long as the test wants.
APP = """
import asyncio
from pathlib import Path
from service import app

@app.get("/slow")
async def slow():
    Path("begun").touch()
    while not Path("goes-on").exists():
        await asyncio.sleep(0.01)
    return {"slow": "done"}
"""
SERVERS = {
    "uvicorn": ["uvicorn", "slow:app", "--port", "PORT"],
    "uvicorn --workers 2": ["uvicorn", "slow:app", "--port", "PORT", "--workers", "2"],
    "gunicorn": [
        *["gunicorn", "slow:app", "--bind", "127.0.0.1:PORT", "--no-control-socket"],
        *["--worker-class", "uvicorn_worker.UvicornWorker", "--workers", "2"],
    ],
    "hypercorn": ["hypercorn", "slow:app", "--bind", "127.0.0.1:PORT", "--workers", "0", "--graceful-timeout", "60"],
}


class Request(threading.Thread):
    """One that waits for its answer."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self._url = url
        self.answer = None
        self.start()

    def run(self):
        # It may come before the socket is open.
        while self.answer is None:
            try:
                with urllib.request.urlopen(self._url, timeout=3 * PATIENCE) as answer:
                    self.answer = answer.read()
            except ConnectionError:
                pass
            except OSError as e:
                if not isinstance(getattr(e, "reason", None), ConnectionRefusedError):
                    self.answer = repr(e)


@pytest.fixture
def serve(folder, tmp_path):
    (tmp_path / "slow.py").write_text(APP)
    started = []

    def serve(command):
        port = free_port()
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *(part.replace("PORT", str(port)) for part in command)],
                cwd=tmp_path,
                env=folder.environment(PYTHONPATH=f"{tmp_path}:{ROOT / 'examples/python'}"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started.append(process)
        return process, f"http://127.0.0.1:{port}"

    yield serve
    for process in started:
        # What ends its workers as well, which may have outlived it.
        subprocess.run(["/bin/kill", "-KILL", "--", f"-{process.pid}"], stderr=subprocess.DEVNULL)
        process.wait()


@pytest.mark.parametrize("server", SERVERS)
def test_the_service_says_stopping_while_a_request_is_in_flight(serve, folder, tmp_path, server):
    process, url = serve(SERVERS[server])
    folder.until_says("service", "healthy: 1 check passes")
    request = Request(f"{url}/slow")
    until("the request is in flight", (tmp_path / "begun").exists)
    process.send_signal(signal.SIGTERM)
    # The worker that serves nothing ends, and the other one is what is left.
    folder.until_says("service", "stopping: SIGTERM")
    until("it is the only one", lambda: len(folder.files("service")) == 1)
    assert folder.record("service")["state"] == "stopping"
    assert request.answer is None and process.poll() is None
    (tmp_path / "goes-on").touch()
    request.join(PATIENCE)
    assert request.answer == b'{"slow":"done"}', (tmp_path / "log").read_text()
    process.wait(PATIENCE)
    assert folder.files("service") == [], (tmp_path / "log").read_text()
    assert "may not call it" not in (tmp_path / "log").read_text()
