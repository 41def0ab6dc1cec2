"""SIGTERM: the agents that asked for it say ``stopping``, then whatever handled it before goes on."""

import os
import signal

from ready_probe import _life
from ready_probe._errors import ConfigError, ReadyProbeError

_agents: set = set()
# The handler that was installed last. A forked child inherits it, and whether it is still there.
_handler = None


def install(agent):
    """Makes ``agent`` say ``stopping`` when SIGTERM comes."""
    global _handler
    current = signal.getsignal(signal.SIGTERM)
    # A handler that replaced it may call it or not. Each of ours has its own predecessor, so that one
    # installed after somebody else's does not call itself.
    if _handler is None or current is not _handler:
        if current is None:
            raise ConfigError("install_signal_handlers: SIGTERM is handled outside Python already")
        handler = _terminates_then(current)
        try:
            signal.signal(signal.SIGTERM, handler)
        except ValueError:
            # The interpreter knows its main thread, also where the module threading does not.
            raise ConfigError(
                "install_signal_handlers: Python lets only the main thread do that; make the agent there"
            ) from None
        _handler = handler
    _agents.add(agent)


def forget(agent):
    """The agent is closed."""
    _agents.discard(agent)


def _terminates_then(previous):
    def terminate(signum, frame):
        for agent in tuple(_agents):
            try:
                agent.mark_stopping("SIGTERM")
            except ReadyProbeError:
                # Closed, or the parent's; and what can't be written has been logged.
                _agents.discard(agent)
        if callable(previous):
            previous(signum, frame)
        elif previous == signal.SIG_DFL:
            # The process ends here and now, without its exit hooks.
            _life.end()
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            # By default, process 1 of a container ignores it: we are still here.
            raise SystemExit(128 + signum)

    return terminate
