"""Tasks in threads beside each other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def together(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Their results, in their order. When one fails, or somebody presses Ctrl-C, the others are not waited for:
    what they work on ends, and they with it."""
    ended: queue.SimpleQueue[tuple[int, T | BaseException]] = queue.SimpleQueue()

    def run(number: int, task: Callable[[], T]) -> None:
        try:
            ended.put((number, task()))
        except BaseException as error:
            ended.put((number, error))

    for number, task in enumerate(tasks):
        threading.Thread(target=run, args=(number, task), daemon=True).start()
    results: dict[int, T] = {}
    while len(results) < len(tasks):
        number, result = ended.get()
        if isinstance(result, BaseException):
            raise result
        results[number] = result
    return [results[number] for number in range(len(tasks))]
