"""What lasts as long as the process: its open agents, the thread that logs, and the exit hook.

All of it belongs to one process: a forked child begins anew, and leaves its parent's alone.
"""

import atexit
import os
import sys

from ready_probe import _native

# The process that has begun.
_pid = None
# An agent lives until it is closed, also when nobody refers to it any more.
_open: set = set()
_logging = None


def begin():
    """Called before anything is published. The first time in a process it sets up what is above."""
    global _pid, _logging
    pid = os.getpid()
    if _pid == pid:
        return
    _pid = pid
    # What a child inherits here is its parent's.
    _open.clear()
    _logging = _start_logging()
    # atexit does not run in multiprocessing's children before 3.13. Those that are there already, as
    # the modules of a child are, are asked for; importing them for the rest would take long.
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        # After the application's own, which may still say something.
        Finalize(None, end, exitpriority=-100)


def hold(agent):
    """Keeps an agent alive until it is closed."""
    _open.add(agent)


def let_go(agent):
    """The agent is closed."""
    _open.discard(agent)


def end():
    """Publishes ``stopping`` for whatever this process publishes, removes its signals, and lets
    nothing be published any more. Nothing of this package needs the interpreter afterwards."""
    _native.end("the process ends")
    # A thread that a fork has not copied is not there to be waited for.
    if _logging is not None and _pid == os.getpid():
        # A handler that blocks must not keep the process from ending.
        _logging.join(1.0)


def _start_logging():
    import threading

    thread = threading.Thread(target=_log, name="ready-probe-log", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # No more threads, or the interpreter ends. Then nothing is logged.
        return None
    return thread


def _log():
    """Hands what the SDK logs to the logger ``ready_probe``."""
    while (lines := _native.next_logs()) is not None:
        # Only now: most processes never have a line to log, and importing it takes long.
        import logging

        logger = logging.getLogger("ready_probe")
        for level, text, agent in lines:
            try:
                logger.log(level, "%s", text, extra={"agent": agent})
            except Exception:
                # A filter that raises must not silence all that follows.
                if logging.raiseExceptions:
                    sys.excepthook(*sys.exc_info())


atexit.register(end)
