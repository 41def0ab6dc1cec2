from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Literal

class Check:
    target: str
    name: str | None
    scope: Literal["own", "dependency"]
    optional: bool
    outcome: Literal["pass", "fail", "unknown"]
    reason: str
    elapsed: float
    def __init__(self, row: dict[str, Any]) -> None: ...

class Verdict:
    verdict: Literal["healthy", "degraded", "starting", "unhealthy"]
    reason: str
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    elapsed: float
    def __init__(self, report: dict[str, Any]) -> None: ...
    def __bool__(self) -> bool: ...

def probe(targets: str | Iterable[str] = (), *, timeout: float | timedelta = 5.0) -> Verdict: ...
