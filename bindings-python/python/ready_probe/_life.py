"""What lasts as long as the process: its open agents, its log, and the exit hook.

All of it belongs to one process: a forked child begins anew, and leaves its parent's alone.
"""

import atexit
import os
import sys

from ready_probe import _log, _native

# The agents of each process that has begun: they live until they are closed, even if nobody refers to
# them any more.
_open: dict = {}
# Waits, with a limit, for the thread that logs.
_finish_logging = None


def begin():
    """Called before anything is published. The first call in a process sets up the above."""
    global _finish_logging
    pid = os.getpid()
    if pid in _open:
        return
    agents = set()
    if _open.setdefault(pid, agents) is not agents:
        # Another thread has been faster.
        return
    # What a child inherits here belongs to its parent.
    for other in [other for other in _open if other != pid]:
        del _open[other]
    _finish_logging = _log.start()
    # atexit does not run in multiprocessing's children before 3.13. Those that are there already, as
    # the modules of a child are, are asked for; importing them for the rest would take long.
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        # After the application's own hooks, which may still say something.
        Finalize(None, end, exitpriority=-100)


def hold(agent):
    """Keeps an agent alive until it is closed."""
    begin()
    _open[os.getpid()].add(agent)


def let_go(agent):
    """The agent is closed."""
    _open.get(os.getpid(), set()).discard(agent)


def find(name):
    """The open agent of that name, if this process has made one."""
    own = tuple(_open.get(os.getpid(), ()))
    return next((agent for agent in own if agent.name == name and not agent.closed), None)


def warn_forked(name, parent):
    """Work is done in a forked child under an agent of its parent's."""
    _log.warn(
        f"agent {name} belongs to process {parent}, which this one was forked from: the work here is "
        f"done, but no signal tells of it; make Agent({name!r}) in each child once it is forked (gunicorn: "
        "post_fork, Celery: worker_process_init)",
        name,
    )


def end():
    """Publishes ``stopping`` for whatever this process publishes, removes its signals, and lets
    nothing be published any more. Nothing of this package needs the interpreter afterwards."""
    for step in (_end_signals, _end_log):
        try:
            step()
        except KeyboardInterrupt:
            # Whoever presses Ctrl-C again wants the end, which this is. The log's thread has to end all the
            # same: one that is still there when the interpreter is torn down takes the process along.
            pass


def _end_signals():
    _native.end("the process ends")


def _end_log():
    # A thread that a fork has not copied is not there to be waited for.
    if _finish_logging is not None and os.getpid() in _open:
        _finish_logging()


atexit.register(end)
