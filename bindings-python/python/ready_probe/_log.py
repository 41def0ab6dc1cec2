"""The thread that hands what the SDK logs to the logger ``ready_probe``.

It runs handlers and filters of the application's, which may import modules and take locks. It is
waited for before a fork: a lock that it held would stay locked in the child for ever.

It imports nothing itself. ``threading`` is imported together with the package, in the caller's thread:
until 3.12 CPython takes the thread that imports it first for the main thread, whose end the interpreter
awaits. ``logging``, which takes several times as long as this package, is left to the application:
without it there is no handler, and warnings go to stderr as they do from ``logging.lastResort``.
"""

import _thread
import os
import sys
import threading

from ready_probe import _native

# How often a green thread looks for something to log, in seconds.
_GREEN_PAUSE = 0.2
# How long a fork waits for lines that are being handed over, in seconds.
_FORK_PATIENCE = 0.1
# How long the thread waits for something to log, in seconds; and how long between two looks of
# _look, where there is one.
_WAIT, _LOOK_PAUSE = 3600.0, 1.0
# logging.WARNING
_WARNING = 30

# Asked by the thread between lines: returns those that it has found, or None when it is not to be asked
# any more. Takes no lock, and imports nothing.
_look = None

# Held while lines are handed over. Of this process: a forked child has no thread that would release it.
_turn = None
# The turns that threads have taken for a fork; nothing where it was not to be had in time.
_taken: dict = {}
# logging is imported, and its hooks for a fork are older than ours.
_before_logging_s_hooks = False


def start():
    """Starts the thread. Returns what waits for its end, with a limit; nothing if there is no thread
    to be had."""
    global _turn
    allocate, start_thread, allocate_turn = _thread.allocate_lock, _thread.start_new_thread, _thread.RLock
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None:
        # Its own threads are greenlets, and one that waits in the extension stops all the others.
        # Its locks, which logging takes, work between threads.
        names = ["allocate_lock", "start_new_thread", "RLock"]
        allocate, start_thread, allocate_turn = gevent.get_original("_thread", names)
    if not isinstance(start_thread, type(len)):
        # Another one's threads are green, as eventlet's. Its locks do not work between threads.
        return _start_green(start_thread)
    ended = allocate()
    ended.acquire()
    # Its owner may take it twice: a handler may fork.
    _turn = turn = allocate_turn()

    def log():
        try:
            while (lines := _next()) is not None:
                with turn:
                    # For the records.
                    threading.current_thread().name = "ready-probe-log"
                    _hand_over(lines, BaseException)
        finally:
            ended.release()

    try:
        start_thread(log, ())
    except RuntimeError:
        # No more threads, or the interpreter ends. Then nothing is logged.
        return None
    # A handler that blocks must not keep the process from ending.
    return lambda: ended.acquire(timeout=1.0)


def _start_green(start_thread):
    from time import sleep

    def log():
        while (lines := _next(0.0)) is not None:
            _hand_over(lines)
            sleep(_GREEN_PAUSE)

    start_thread(log, ())
    return lambda: _hand_over(_native.next_logs(0.0) or ())


def look_with(look):
    """Has the thread ask ``look`` from now on."""
    global _look
    # Another object each time: one that has nothing more to ask is given up by the thread meanwhile.
    _look = [look]
    _native.wake_logs()


def warn(text, agent):
    """A warning of the package's own, in the caller's thread."""
    _hand_over([(_WARNING, text, agent)])


def _next(wait=None):
    """What is to be logged next; nothing when there will be no more."""
    global _look
    look = _look
    if wait is None:
        wait = _WAIT if look is None else _LOOK_PAUSE
    lines = _native.next_logs(wait)
    if lines is None or look is None:
        return lines
    found = look[0]()
    if found is None:
        _look = None if _look is look else _look
        return lines
    return [*lines, *((_WARNING, text, agent) for text, agent in found)]


def _hand_over(lines, caught=Exception):
    """Logs them. Nothing that a handler or a filter raises may silence the lines that follow: in a thread
    of ours not even SystemExit."""
    get_logger = _get_logger()
    for level, text, agent in lines:
        try:
            if get_logger is not None:
                get_logger("ready_probe").log(level, "%s", text, extra={"agent": agent})
            elif level >= _WARNING and sys.stderr is not None:
                print(f"ready_probe: {text}", file=sys.stderr, flush=True)
        except caught:
            _report()


def _get_logger():
    """``None`` if the application has not imported logging, or is just importing it."""
    global _before_logging_s_hooks
    get_logger = getattr(sys.modules.get("logging"), "getLogger", None)
    if get_logger is not None and not _before_logging_s_hooks:
        _register_at_fork()
        _before_logging_s_hooks = True
    return get_logger


def _report():
    if getattr(sys.modules.get("logging"), "raiseExceptions", True):
        try:
            sys.excepthook(*sys.exc_info())
        except BaseException:
            # The application's own hook; there is nobody left to tell.
            pass


def _before_fork():
    turn, thread = _turn, _thread.get_ident()
    if turn is None or thread in _taken:
        return
    # Gives up the GIL, which the thread needs to get done.
    _taken[thread] = turn if turn.acquire(timeout=_FORK_PATIENCE) else None


def _after_fork_in_parent():
    turn = _taken.pop(_thread.get_ident(), None)
    if turn is not None:
        turn.release()


def _after_fork_in_child():
    global _turn
    _turn = None
    _taken.clear()


def _register_at_fork():
    """The hook that is registered last runs first. It has to run before logging's own, which takes a
    lock that the thread may need to get done: so once more when logging is there."""
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


_register_at_fork()
