"""The same for asyncio. The event loop itself proves progress: when it is blocked for longer than
the watchdog allows, the agent is ``stalled`` until it runs again.

    async with ready_probe.aio.Agent("translator") as agent:
        await agent.mark_ready({"port": 5555})
        ...

Make and use an agent in one running loop.
"""

import asyncio
import concurrent.futures
import threading

from ready_probe import _agent, _native
from ready_probe._errors import ClosedError, ForkedProcessError, ReadyProbeError

__all__ = ["Agent"]

# The loop ticks so often within the watchdog's limit.
_TICKS_PER_LIMIT = 5
# Pauses between two looks whether a signal is announced, in seconds.
_POLL = (0.005, 0.1)


class Agent:
    """As ``ready_probe.Agent``, with coroutines. Make it where the event loop runs.

    :param watchdog: how long the event loop may be blocked while the agent is ready, at least
        0.1 s, 10 s by default; ``None`` to leave it unwatched.

    The other parameters and the errors are those of ``ready_probe.Agent``, and besides:

    :raises RuntimeError: no event loop runs here.

    >>> async def main():
    ...     async with Agent("translator", watchdog=5) as agent:
    ...         await agent.mark_ready({"port": 5555})
    """

    __slots__ = ("_agent", "_beat", "_pause", "_at_work", "__weakref__")

    def __init__(
        self,
        name,
        *,
        ttl=60.0,
        heartbeat=None,
        watchdog=10.0,
        store=None,
        namespace=None,
        install_signal_handlers=False,
    ):
        loop = asyncio.get_running_loop()
        self._at_work = 0
        self._agent = _agent.Agent(
            name,
            ttl=ttl,
            heartbeat=heartbeat,
            watchdog=watchdog,
            store=store,
            namespace=namespace,
            install_signal_handlers=install_signal_handlers,
        )
        self._beat = None
        if watchdog is not None:
            self._pause = _native.seconds("watchdog", watchdog) / _TICKS_PER_LIMIT
            self._prove(loop)

    @property
    def name(self):
        """The agent's name."""
        return self._agent.name

    @property
    def state(self):
        """As ``ready_probe.Agent.state``."""
        return self._agent.state

    @property
    def announced(self):
        """As ``ready_probe.Agent.announced``."""
        return self._agent.announced

    async def mark_ready(self, details=None):
        """As ``ready_probe.Agent.mark_ready``. It writes to memory, and so does not leave the loop."""
        self._agent.mark_ready(details)

    async def mark_not_ready(self, reason):
        """As ``ready_probe.Agent.mark_not_ready``."""
        self._agent.mark_not_ready(reason)

    def tick(self):
        """Prove progress of work under ``progress``; otherwise the loop does that by itself. Its
        errors are those of ``ready_probe.Agent.tick``."""
        self._agent.tick()

    def progress(self, function):
        """Decorate the function that does the work, a coroutine function as a rule. While it runs,
        that the loop runs is not enough: the work has to ``tick`` within the watchdog's limit, so
        that waiting for ever is a stall, too. Of several that run at once any may tick. What can be
        decorated, and the errors, are those of ``ready_probe.Agent.progress``.

        >>> async def main():
        ...     agent = Agent("worker", watchdog=10)
        ...     @agent.progress
        ...     async def work(parts):
        ...         async for part in parts:
        ...             agent.tick()
        """
        return _agent._watch(function, lambda: _AtWork(self))

    async def wait_announced(self, timeout=10.0):
        """As ``ready_probe.Agent.wait_announced``; can be cancelled."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _native.seconds("timeout", timeout)
        pause, longest = _POLL
        while not self._agent._native.is_announced():
            left = until - loop.time()
            if left <= 0:
                self._agent._native.unavailable(timeout)
                return
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, longest)

    def drain(self, reason):
        """As ``ready_probe.Agent.drain``.

        >>> async def main():
        ...     agent = Agent("translator")
        ...     async with agent.drain("deploy"):
        ...         pass  # finish
        """
        return _Drain(self, reason)

    async def close(self, reason="closed"):
        """As ``ready_probe.Agent.close``. Says ``stopping`` at once, and waits for the store in another
        thread."""
        try:
            self._stop(reason)
        finally:
            await self._leave(self._agent.close, reason)

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, exception, traceback):
        if self._agent._native.closed:
            return
        if kind is None:
            await self.close()
            return
        try:
            self._stop(_agent._reason_of(kind, exception))
        except ReadyProbeError:
            # It has been logged, and must not hide why the block ends.
            pass
        await self._leave(self._agent.__exit__, kind, exception, traceback)

    def __repr__(self):
        return repr(self._agent).replace("ready_probe.Agent", "ready_probe.aio.Agent")

    def _stop(self, reason):
        if not self._agent._native.closed:
            try:
                self._agent._native.mark_stopping(reason)
            except ClosedError:
                # By another thread, just now.
                pass

    async def _leave(self, how, *args):
        leaving = asyncio.wrap_future(_in_thread(how, *args))
        # A task that is cancelled must not leave the signal behind.
        try:
            await asyncio.shield(leaving)
        except asyncio.CancelledError:
            await leaving
            raise
        finally:
            if self._beat is not None and self._agent._native.closed:
                self._beat.cancel()

    def _prove(self, loop):
        """The loop runs."""
        if not self._at_work:
            try:
                self._agent.tick()
            except (ClosedError, ForkedProcessError):
                return
            except ReadyProbeError:
                # The end of a stall can't be written. It has been logged, and is tried again.
                pass
        self._beat = loop.call_later(self._pause, self._prove, loop)


class _AtWork:
    """The loop's own progress is not enough while this is entered."""

    __slots__ = ("_agent",)

    def __init__(self, agent):
        self._agent = agent

    def __enter__(self):
        # The work's time begins now.
        self._agent.tick()
        self._agent._at_work += 1

    def __exit__(self, kind, exception, traceback):
        self._agent._at_work -= 1
        # What the work returns or raises goes first; as after ready_probe.Agent.progress.
        try:
            self._agent.tick()
        except ReadyProbeError:
            pass


class _Drain:
    """The agent says ``stopping`` while this is entered."""

    __slots__ = ("_agent", "_reason")

    def __init__(self, agent, reason):
        self._agent = agent
        self._reason = reason

    async def __aenter__(self):
        self._agent._agent._native.mark_stopping(self._reason)

    async def __aexit__(self, kind, exception, traceback):
        agent = self._agent._agent
        await self._agent._leave(agent._exit, kind, agent._native.close, self._reason)


def _in_thread(how, *args):
    """Runs it in a thread of its own: those of the loop may be busy, or have ended already."""
    done = concurrent.futures.Future()
    # It has begun, and can't be cancelled.
    done.set_running_or_notify_cancel()

    def work():
        try:
            done.set_result(how(*args))
        except BaseException as e:
            done.set_exception(e)

    try:
        threading.Thread(target=work, name="ready-probe-close", daemon=True).start()
    except RuntimeError:
        # No more threads, or the interpreter ends.
        work()
    return done
