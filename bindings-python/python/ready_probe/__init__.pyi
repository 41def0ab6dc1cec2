from ready_probe import aio as aio
from ready_probe._agent import (
    Agent as Agent,
    find_agent as find_agent,
    mark_agent_not_ready as mark_agent_not_ready,
    mark_agent_ready as mark_agent_ready,
)
from ready_probe._errors import (
    ClosedError as ClosedError,
    ConfigError as ConfigError,
    ForkedProcessError as ForkedProcessError,
    InvalidName as InvalidName,
    ReadyProbeError as ReadyProbeError,
    StoreUnavailable as StoreUnavailable,
)
from ready_probe._native import Announced as Announced, __version__ as __version__
from ready_probe._probe import Check as Check, Verdict as Verdict, probe as probe

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
