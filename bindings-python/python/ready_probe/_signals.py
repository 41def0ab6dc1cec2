"""SIGTERM: the agents that asked for it say ``stopping``, then whatever handled it before goes on."""

import os
import signal

from ready_probe import _life, _log
from ready_probe._errors import ConfigError, ReadyProbeError

_agents: set = set()
# The handler that was installed last. A forked child inherits it, and whether it is still there.
_handler = None
# Another one was there at the last look; and that was said, of this process.
_is_missed = False
_said_in = None


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
    _log.look_with(_look)


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


def _look():
    """Whether another handler has taken the place of ours, as the thread that logs asks: what is to be
    said, once. Twice in a row, since a program may replace one for a moment."""
    global _is_missed, _said_in
    names = sorted(agent.name for agent in tuple(_agents) if not agent.closed)
    if _said_in == os.getpid() or not names:
        return None
    current = signal.getsignal(signal.SIGTERM)
    was_missed, _is_missed = _is_missed, current is not _handler
    if not (was_missed and _is_missed):
        return ()
    _said_in = os.getpid()
    agents = f"agent {names[0]} does" if len(names) == 1 else f"agents {', '.join(names)} do"
    text = (
        f"SIGTERM is handled by {_name_of(current)} now, which came after this package's handler and may "
        f"not call it: unless it does, {agents} not say stopping; make agents after that handler is "
        "installed, or call close() or drain() in it"
    )
    return [(text, names[0])]


def _name_of(handler):
    if handler is None:
        return "a handler outside Python"
    if isinstance(handler, signal.Handlers):
        return handler.name
    name = getattr(handler, "__qualname__", type(handler).__qualname__)
    module = getattr(handler, "__module__", None)
    return f"{module}.{name}" if module else name
