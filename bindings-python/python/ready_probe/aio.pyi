from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar
from typing_extensions import Self

from ready_probe._native import Announced

__all__ = ["Agent"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

class Agent:
    def __init__(
        self,
        name: str,
        *,
        ttl: float | timedelta = 60.0,
        heartbeat: float | timedelta | None = None,
        watchdog: float | timedelta | None = 10.0,
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
    async def mark_ready(self, details: dict[str, Any] | None = None) -> None: ...
    async def mark_not_ready(self, reason: str) -> None: ...
    def tick(self) -> None: ...
    def progress(self, function: Callable[_P, _R]) -> Callable[_P, _R]: ...
    async def wait_announced(self, timeout: float | timedelta = 10.0) -> None: ...
    def drain(self, reason: str) -> AbstractAsyncContextManager[None]: ...
    async def close(self, reason: str = "closed") -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
