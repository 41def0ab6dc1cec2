from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar
from typing_extensions import Self

from ready_probe._native import Announced

_P = ParamSpec("_P")
_R = TypeVar("_R")

def mark_agent_ready(
    name: str,
    details: dict[str, Any] | None = None,
    *,
    ttl: float | timedelta = 60.0,
    watchdog: float | timedelta | None = None,
    store: str | None = None,
) -> None: ...
def mark_agent_not_ready(name: str, reason: str) -> None: ...

class Agent:
    def __init__(
        self,
        name: str,
        *,
        ttl: float | timedelta = 60.0,
        heartbeat: float | timedelta | None = None,
        watchdog: float | timedelta | None = None,
        store: str | None = None,
        namespace: str | None = None,
        install_signal_handlers: bool = False,
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> Literal["starting", "ready", "not_ready", "stopping"]: ...
    @property
    def announced(self) -> Announced | None: ...
    def mark_ready(self, details: dict[str, Any] | None = None) -> None: ...
    def mark_not_ready(self, reason: str) -> None: ...
    def tick(self) -> None: ...
    def progress(self, function: Callable[_P, _R]) -> Callable[_P, _R]: ...
    def wait_announced(self, timeout: float | timedelta = 10.0) -> None: ...
    def drain(self, reason: str) -> AbstractContextManager[None]: ...
    def close(self, reason: str = "closed") -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
