"""SIGTERM: the agents that asked for it say ``stopping``, then whatever handled it before goes on."""

import os
import signal
import threading

from ready_probe import _life
from ready_probe._errors import ConfigError, ReadyProbeError

_agents: set = set()
_previous = None
_installed = False


def install(agent):
    """Has ``agent`` say ``stopping`` when SIGTERM comes."""
    global _installed, _previous
    if not _installed:
        if threading.current_thread() is not threading.main_thread():
            raise ConfigError(
                "install_signal_handlers: Python lets only the main thread do that; make the agent there"
            )
        _previous = signal.getsignal(signal.SIGTERM)
        if _previous is None:
            raise ConfigError("install_signal_handlers: SIGTERM is handled outside Python already")
        # Once, even if another handler replaces it: that one may call this one.
        _installed = True
        signal.signal(signal.SIGTERM, _terminate)
    _agents.add(agent)


def forget(agent):
    """The agent is closed."""
    _agents.discard(agent)


def _terminate(signum, frame):
    for agent in tuple(_agents):
        try:
            agent.mark_stopping("SIGTERM")
        except ReadyProbeError:
            # Closed, or the parent's; and what can't be written has been logged.
            _agents.discard(agent)
    if callable(_previous):
        _previous(signum, frame)
    elif _previous == signal.SIG_DFL:
        # The process ends here and now, without its exit hooks.
        _life.end()
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
        # Nothing is done by default to process 1 of a container: it is still here.
        raise SystemExit(128 + signum)
