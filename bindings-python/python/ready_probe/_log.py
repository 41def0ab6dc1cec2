"""The thread that hands what the SDK logs to the logger ``ready_probe``.

It runs handlers and filters of the application's, which may import modules and take locks. It is
waited for before a fork: a lock that it held would stay locked in the child for ever. What it needs
itself is imported together with the package, in the caller's thread: until 3.12 CPython takes the
thread that imports ``threading`` first for the main thread, whose end the interpreter awaits.
"""

import _thread
import logging
import os
import sys
import threading

from ready_probe import _native

# How often a green thread looks for something to log, in seconds.
_GREEN_PAUSE = 0.2
# How long a fork waits for lines that are being handed over, in seconds.
_FORK_PATIENCE = 0.1

# Held while lines are handed over. Of this process: a forked child has no thread that would release it.
_turn = None
# The turns that threads have taken for a fork.
_taken: dict = {}


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
    # Its owner may take it again: a handler may fork.
    _turn = turn = allocate_turn()

    def log():
        try:
            while (lines := _native.next_logs(True)) is not None:
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
        while (lines := _native.next_logs(False)) is not None:
            _hand_over(lines)
            sleep(_GREEN_PAUSE)

    start_thread(log, ())
    return lambda: _hand_over(_native.next_logs(False) or ())


def _hand_over(lines, caught=Exception):
    """Logs them. What a handler or a filter raises must not silence all that follows: in a thread of
    ours nothing, also not SystemExit."""
    for level, text, agent in lines:
        try:
            logging.getLogger("ready_probe").log(level, "%s", text, extra={"agent": agent})
        except caught:
            _report()


def _report():
    if logging.raiseExceptions:
        try:
            sys.excepthook(*sys.exc_info())
        except BaseException:
            # The application's own hook; there is nobody left to tell.
            pass


def _before_fork():
    turn = _turn
    # Gives up the GIL, which the thread needs to get done.
    if turn is not None and turn.acquire(timeout=_FORK_PATIENCE):
        _taken[_thread.get_ident()] = turn


def _after_fork_in_parent():
    turn = _taken.pop(_thread.get_ident(), None)
    if turn is not None:
        turn.release()


def _after_fork_in_child():
    global _turn
    _turn = None
    _taken.clear()


# The hook that is registered last runs first: before logging's own, which takes a lock that the thread
# may need to get done.
os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
