"""What lasts as long as the process: its open agents, the thread that logs, and the exit hook.

All of it belongs to one process: a forked child begins anew, and leaves its parent's alone.
"""

import _thread
import atexit
import os
import sys

from ready_probe import _native

# The agents of each process that has begun: they live until they are closed, also when nobody refers
# to them any more.
_open: dict = {}
# Waits, with a limit, for the thread that logs.
_finish_logging = None
# How often a green thread looks for something to log, in seconds.
_GREEN_PAUSE = 0.2


def begin():
    """Called before anything is published. The first time in a process it sets up what is above."""
    global _finish_logging
    pid = os.getpid()
    if pid in _open:
        return
    agents = set()
    if _open.setdefault(pid, agents) is not agents:
        # Another thread has been faster.
        return
    # What a child inherits here is its parent's.
    for other in [other for other in _open if other != pid]:
        del _open[other]
    _finish_logging = _start_logging()
    # atexit does not run in multiprocessing's children before 3.13. Those that are there already, as
    # the modules of a child are, are asked for; importing them for the rest would take long.
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        # After the application's own, which may still say something.
        Finalize(None, end, exitpriority=-100)


def hold(agent):
    """Keeps an agent alive until it is closed."""
    _open[os.getpid()].add(agent)


def let_go(agent):
    """The agent is closed."""
    _open.get(os.getpid(), set()).discard(agent)


def end():
    """Publishes ``stopping`` for whatever this process publishes, removes its signals, and lets
    nothing be published any more. Nothing of this package needs the interpreter afterwards."""
    try:
        _native.end("the process ends")
        # A thread that a fork has not copied is not there to be waited for.
        if _finish_logging is not None and os.getpid() in _open:
            _finish_logging()
    except KeyboardInterrupt:
        # Whoever presses Ctrl-C again wants the end, which this is.
        pass


def _start_logging():
    """Starts the thread that logs. Returns what waits for its end."""
    allocate, start = _thread.allocate_lock, _thread.start_new_thread
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None:
        # Its own threads are greenlets, and one that waits in the extension stops all the others.
        # Its locks, which logging takes, work between threads.
        allocate, start = gevent.get_original("_thread", ["allocate_lock", "start_new_thread"])
    if not isinstance(start, type(len)):
        # Another one's threads are green, as eventlet's. Its locks do not work between threads.
        return _start_green_logging(start)
    logging = allocate()
    logging.acquire()

    def log():
        try:
            while (lines := _native.next_logs(True)) is not None:
                from threading import current_thread

                # For the records.
                current_thread().name = "ready-probe-log"
                _log(lines)
        finally:
            logging.release()

    try:
        start(log, ())
    except RuntimeError:
        # No more threads, or the interpreter ends. Then nothing is logged.
        return None
    # A handler that blocks must not keep the process from ending.
    return lambda: logging.acquire(timeout=1.0)


def _start_green_logging(start):
    from time import sleep

    def log():
        while (lines := _native.next_logs(False)) is not None:
            _log(lines)
            sleep(_GREEN_PAUSE)

    start(log, ())
    return lambda: _log(_native.next_logs(False) or ())


def _log(lines):
    """Hands what the SDK logs to the logger ``ready_probe``."""
    if not lines:
        return
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
