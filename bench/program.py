"""How the programs of this folder speak and end."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable

from build import BenchError


def run_program(name: str, work: Callable[[], int]) -> int:
    """Its exit status. What it has started ends with it, by SIGTERM as well."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in step with stderr, also in a log
    try:
        return work()
    except BenchError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
