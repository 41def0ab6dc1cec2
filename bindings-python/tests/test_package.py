"""The wheel: what is in it, how it installs, and that its stubs tell the truth."""

import builtins
import inspect
import os
import re
import statistics
import subprocess
import sys
import zipfile

import pytest

import ready_probe
from conftest import PATIENCE, PROBE, ROOT
from ready_probe import aio


def wheel():
    (wheel,) = (ROOT / "dist").glob("ready_probe-*.whl")
    return wheel


def test_the_wheel_serves_every_python_from_3_10_on():
    assert "-cp310-abi3-manylinux2014_" in wheel().name


def test_the_executable_in_the_wheel_is_the_very_same_static_binary():
    want = (ROOT / "dist/ready-probe").read_bytes()
    assert want.startswith(b"\x7fELF")
    with zipfile.ZipFile(wheel()) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".data/scripts/ready-probe")]
        assert archive.read(name) == want
    assert PROBE.read_bytes() == want


def test_a_clean_virtualenv_gets_both_from_the_one_line_of_the_readme(tmp_path):
    """From an index that has nothing else, as pip reads one: a folder for each package."""
    index = tmp_path / "index/ready-probe"
    index.mkdir(parents=True)
    (index / "index.html").write_text(f'<a href="{wheel().as_uri()}">{wheel().name}</a>')
    readme = (ROOT / "bindings-python/README.md").read_text()
    (install,) = re.findall(r"^RUN (.*)", readme, re.M)
    (check,) = re.findall(r"^HEALTHCHECK .*CMD (.*)", readme, re.M)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    environment = {
        "PATH": f"{tmp_path}/venv/bin:/usr/bin:/bin",
        "READY_DIR": str(tmp_path / "signals"),
        "PIP_INDEX_URL": (tmp_path / "index").as_uri(),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "CODE": "import subprocess\n"
        "from ready_probe import mark_agent_ready\n"
        "mark_agent_ready('clean')\n"
        f"print(subprocess.check_output({check}, text=True).split(chr(10))[0])\n",
    }
    subprocess.run(["/bin/sh", "-c", install], env=environment, stdout=subprocess.DEVNULL, check=True)
    script = 'set -e; ready-probe --version; python -c "$CODE"; ! ready-probe agent:clean'
    run = subprocess.run(
        ["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert lines[:1] == [f"ready-probe {ready_probe.__version__}"]
    assert lines[1].startswith("healthy: 1 check passes")


@pytest.mark.parametrize("where", ["--user", "--prefix", "--target"])
def test_probe_finds_the_executable_wherever_pip_puts_it(folder, tmp_path, where):
    bin, place = tmp_path / "venv/bin", tmp_path / "place"
    # A virtualenv that sees the user's packages, which others do not.
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", tmp_path / "venv"], check=True
    )
    environment = {**folder.environment(), "PATH": "/usr/bin:/bin", "PYTHONUSERBASE": str(place)}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", bin / "python"]
    options = [where] if where == "--user" else [where, place]
    subprocess.run(
        [*pip, "install", "--quiet", "--no-index", *options, wheel()], check=True, env=environment
    )
    (package,) = place.glob("**/ready_probe/__init__.py")
    if where != "--user":
        environment["PYTHONPATH"] = str(package.parents[1])
    code = "import ready_probe; print(ready_probe.__file__); print(ready_probe.probe('agent:nobody').verdict)"
    run = subprocess.run(
        [bin / "python", "-c", code], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (run.stderr, run.stdout) == ("", f"{package}\nstarting\n")


def test_the_stubs_are_those_of_the_module():
    check("-m", "mypy.stubtest", "ready_probe", "--mypy-config-file", "pyproject.toml")


def test_a_typed_program_passes_the_type_checker_and_a_wrong_one_does_not(tmp_path):
    right = tmp_path / "right.py"
    right.write_text((ROOT / "bindings-python/tests/typed.py").read_text())
    check("-m", "mypy", "--strict", str(right))
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from ready_probe import mark_agent_ready, probe\nmark_agent_ready(5)\nprobe().reason = 'mine'\n"
    )
    run = subprocess.run([sys.executable, "-m", "mypy", str(wrong)], capture_output=True, text=True)
    assert 'Argument 1 to "mark_agent_ready" has incompatible type "int"' in run.stdout
    assert 'Property "reason" defined in "Verdict" is read-only' in run.stdout


def check(*arguments):
    run = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT / "bindings-python", capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


DOCUMENTED = {name: getattr(ready_probe, name) for name in ready_probe.__all__ if name != "__version__"}
DOCUMENTED |= {
    f"{module}.Agent.{name}": member
    for module, kind in (("ready_probe", ready_probe.Agent), ("ready_probe.aio", aio.Agent))
    for name, member in vars(kind).items()
    if not name.startswith("_")
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_docstring_says_what_is_given_returned_and_raised(name):
    thing = DOCUMENTED[name]
    text = inspect.getdoc(thing)
    assert text
    for error in re.findall(r":raises (\w+):", text):
        kind = getattr(ready_probe, error, None) or getattr(builtins, error)
        assert issubclass(kind, Exception)
    if "ready_probe.Agent" in text and name.startswith("ready_probe.aio"):
        # It says the same as that one.
        return
    if name in ("Agent", "mark_agent_ready", "mark_agent_not_ready", "probe") or inspect.isroutine(thing):
        parameters = set(inspect.signature(thing).parameters) - {"self"}
        assert parameters <= set(re.findall(r":param (\w+):", text))
        assert ":raises " in text
        assert ">>> " in text or name.endswith("tick")


@pytest.mark.parametrize("name", ["Announced", "Check", "Verdict"])
def test_a_docstring_says_which_attributes_there_are(name):
    thing = getattr(ready_probe, name)
    attributes = {member for member in dir(thing) if not member.startswith("_")}
    assert set(re.findall(r":ivar (\w+):", thing.__doc__)) == attributes


@pytest.mark.parametrize("module", ["logging", "json", "subprocess", "multiprocessing", "asyncio"])
def test_importing_it_imports_no_large_module(run, module):
    # Each of these takes longer than this package; site may have imported some already.
    run(
        f"""
        import sys
        before = set(sys.modules)
        import ready_probe
        assert {module!r} not in set(sys.modules) - before
        """
    )


def test_importing_it_imports_threading(run):
    # In the caller's thread, which CPython takes for the main one when it imports it first.
    run("import sys; import ready_probe; assert 'threading' in sys.modules")


def test_asyncio_s_agent_needs_no_import_of_its_own(run):
    run("import ready_probe; ready_probe.aio.Agent; assert not hasattr(ready_probe, 'nothing')")


def test_importing_it_takes_less_than_15_ms():
    # Of a processor: how long one is waited for is no matter of ours.
    code = (
        "import time; begin = time.process_time(); import ready_probe; "
        "print(time.process_time() - begin)"
    )
    took = [
        float(subprocess.check_output([sys.executable, "-c", code], env=dict(os.environ)))
        for _ in range(11)
    ]
    assert statistics.median(took) < 0.015, took


def test_marking_takes_less_than_a_millisecond(memory):
    from time import perf_counter

    with ready_probe.Agent("fast") as agent:
        took = []
        for i in range(300):
            begin = perf_counter()
            agent.mark_ready({"i": i})
            took.append(perf_counter() - begin)
    assert statistics.median(took) < 0.001, statistics.median(took)
