"""Asking the probe: runs the executable of this package, and returns what it says."""

from ready_probe import _native
from ready_probe._errors import ConfigError, ReadyProbeError

# Statuses of the executable for what it can't use: the command line, the configuration.
_UNUSABLE = (64, 78)


class Check:
    """One check of a verdict.

    :ivar target: what was asked for, without its secrets: ``agent:translator``.
    :ivar name: the name that was given to it by ``#name=``, or ``None``.
    :ivar scope: ``"own"`` for what is this container's, else ``"dependency"``.
    :ivar optional: whether the container is only degraded without it.
    :ivar outcome: ``"pass"``, ``"fail"``, or ``"unknown"`` where it could not be found out.
    :ivar reason: one line for people.
    :ivar elapsed: how long it took, in seconds.
    """

    __slots__ = ("target", "name", "scope", "optional", "outcome", "reason", "elapsed")

    def __init__(self, row):
        self.target = row["target"]
        self.name = row.get("name")
        self.scope = row["scope"]
        self.optional = row.get("optional", False)
        self.outcome = row["outcome"]
        self.reason = row["reason"]
        self.elapsed = row["elapsed_ms"] / 1000

    def __repr__(self):
        return f"<ready_probe.Check {self.outcome} {self.target}: {self.reason}>"


class Verdict:
    """What the probe says. True when the container is healthy or degraded: when the exit status is 0.

    :ivar verdict: ``"healthy"``, ``"degraded"``, ``"starting"`` or ``"unhealthy"``.
    :ivar reason: one line for people.
    :ivar checks: a tuple with a ``Check`` for each target, in their order.
    :ivar notes: a tuple of lines about what was noticed besides.
    :ivar elapsed: how long all of it took, in seconds.
    """

    __slots__ = ("verdict", "reason", "checks", "notes", "elapsed")

    def __init__(self, report):
        self.verdict = report["verdict"]
        self.reason = report["reason"]
        self.checks = tuple(Check(row) for row in report["checks"])
        self.notes = tuple(report.get("notes", ()))
        self.elapsed = report["elapsed_ms"] / 1000

    def __bool__(self):
        return self.verdict in ("healthy", "degraded")

    def __repr__(self):
        return f"<ready_probe.Verdict {self.verdict}: {self.reason}>"


def probe(targets=(), *, timeout=5.0):
    """Ask the probe, as the container's health check does.

    :param targets: a target or several, as on the command line: ``"agent:translator"``,
        ``["redis://redis:6379", "tcp://localhost:80"]``. Without any, what the environment and the
        configuration file name, or all agents of this container.
    :param timeout: the deadline by which the probe has answered. Seconds or a ``timedelta``.

    :raises ConfigError: a target, the timeout, a setting or the configuration file can't be used.
    :raises ReadyProbeError: the executable can't be found or run.

    >>> bool(probe("agent:nobody"))
    False
    """
    import json
    import subprocess

    options = ["--format=json", f"--timeout={round(_native.seconds('timeout', timeout) * 1000)}ms"]
    try:
        run = subprocess.run(
            [_executable(), *options, "--", *_targets(targets)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as e:
        raise ReadyProbeError(f"ready-probe can't be run: {e}") from e
    said = run.stderr.decode(errors="replace").strip()
    if run.returncode in _UNUSABLE:
        raise ConfigError(said or run.stdout.decode(errors="replace").strip())
    try:
        return Verdict(json.loads(run.stdout))
    except (ValueError, LookupError) as e:
        raise ReadyProbeError(f"ready-probe ended with status {run.returncode}: {said}") from e


def _targets(given):
    """What stands on the command line."""
    import os

    targets = [given] if isinstance(given, str) else given
    try:
        targets = list(targets)
    except TypeError:
        kind = type(given).__name__
        raise TypeError(f"targets must be a str or several of them, not {kind}") from None
    for target in targets:
        if not isinstance(target, str):
            raise TypeError(f"a target must be a str, not {type(target).__name__}")
        try:
            usable = b"\0" not in os.fsencode(target)
        except UnicodeEncodeError:
            usable = False
        if not usable:
            raise ConfigError("a target can't be used: it holds what a command line can't")
    return targets


def _executable():
    """The one that was installed together with this package, or else the first in PATH."""
    import shutil

    for folder in _folders():
        found = shutil.which("ready-probe", path=folder)
        if found:
            return found
    found = shutil.which("ready-probe")
    if not found:
        raise ReadyProbeError(f"there is no ready-probe in {', '.join(_folders())}, nor in PATH")
    return found


def _folders():
    """Where installers put it."""
    import os
    import sys
    import sysconfig

    # A program that PyInstaller has frozen has its files there, and no Python beside them.
    frozen = getattr(sys, "_MEIPASS", None)
    if frozen is not None:
        return [frozen]
    site = os.path.dirname(os.path.dirname(__file__))
    return [
        *_recorded(),
        # pip install --target, whose record does not say so.
        os.path.join(site, "bin"),
        sysconfig.get_path("scripts"),
        os.path.dirname(sys.executable),
    ]


def _recorded():
    """The folder that the installer of this package has recorded."""
    from importlib.metadata import PackageNotFoundError, files

    try:
        recorded = files("ready-probe") or ()
    except PackageNotFoundError:
        return []
    return [str(file.locate().parent) for file in recorded if file.name == "ready-probe"]
