"""Container health that means readiness: an agent says that it is ready, and means it.

    from ready_probe import mark_agent_ready, mark_agent_not_ready

    mark_agent_ready("translator", {"port": 5555})
    ...
    mark_agent_not_ready("translator", "reloading the model")

The signal lives in the container's shared memory, where the ``ready-probe`` executable of this
package, the container's HEALTHCHECK, finds it. It dies with the process. Where READY_STORE names a
Redis or NATS server, it is announced there, too, for other containers.

``Agent`` gives more control, such as a watchdog that ties the signal to progress; ``ready_probe.aio``
has the same for asyncio. Durations are seconds, as a number or a ``timedelta``.
"""

from ready_probe._agent import Agent, find_agent, mark_agent_not_ready, mark_agent_ready
from ready_probe._errors import (
    ClosedError,
    ConfigError,
    ForkedProcessError,
    InvalidName,
    ReadyProbeError,
    StoreUnavailable,
)
from ready_probe._native import Announced, __version__
from ready_probe._probe import Check, Verdict, probe

__all__ = [
    "Agent",
    "Announced",
    "Check",
    "ClosedError",
    "ConfigError",
    "ForkedProcessError",
    "InvalidName",
    "ReadyProbeError",
    "StoreUnavailable",
    "Verdict",
    "__version__",
    "find_agent",
    "mark_agent_not_ready",
    "mark_agent_ready",
    "probe",
]


def __getattr__(name):
    # When it is asked for: importing asyncio takes longer than all the rest.
    if name == "aio":
        from importlib import import_module

        return import_module("ready_probe.aio")
    raise AttributeError(f"module 'ready_probe' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), "aio"})
