"""Refuses a second interpreter: importing this module is the check.

The table of agents and the heartbeat are the process's, and what they call back into would be one
interpreter's. Before 3.12 CPython itself does not refuse.
"""

from importlib import import_module


def _is_main() -> bool:
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters = import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() == interpreters.get_main())
    return True  # no second interpreter can be made


if not _is_main():
    raise ImportError(
        "ready_probe does not support subinterpreters: import it in the main interpreter, or run this "
        "in a process of its own"
    )
