"""The exceptions. Which error of the SDK becomes which is decided in the extension, src/error.rs."""


class ReadyProbeError(Exception):
    """Whatever this package raises. Raised itself when the signal can't be written anywhere in the
    container, with the folders that were tried."""


class ConfigError(ReadyProbeError, ValueError):
    """A setting or an argument can't be used: READY_STORE, a TTL, a watchdog, details, or a name
    that this process publishes already."""


class InvalidName(ReadyProbeError, ValueError):
    """A name is a letter or digit, then letters, digits, ``.``, ``_`` or ``-``, at most 128
    characters in all."""


class StoreUnavailable(ReadyProbeError):
    """The store has not taken a signal in time. Raised by ``wait_announced`` alone: whether an agent
    is ready in its own container never depends on a store."""


class ForkedProcessError(ReadyProbeError):
    """The agent belongs to the process that this one was forked from. Make a new one here."""


class ClosedError(ReadyProbeError):
    """The agent was closed."""


for _class in (
    ReadyProbeError,
    ConfigError,
    InvalidName,
    StoreUnavailable,
    ForkedProcessError,
    ClosedError,
):
    # Under the name by which they are caught.
    _class.__module__ = "ready_probe"
del _class
