"""The same for asyncio. The event loop itself proves progress: when it is blocked for longer than
the watchdog allows, the agent is ``stalled`` until it runs again.

    async with ready_probe.aio.Agent("translator") as agent:
        await agent.mark_ready({"port": 5555})
        ...

Make and use an agent in one running loop.
"""

import asyncio
from functools import wraps
from inspect import iscoroutinefunction

from ready_probe import _agent
from ready_probe._errors import ClosedError, ConfigError, ForkedProcessError

__all__ = ["Agent"]

# The loop ticks so often within the watchdog's limit.
_TICKS_PER_LIMIT = 5
# Pauses between two looks whether a signal is announced, in seconds.
_POLL = (0.005, 0.1)


class Agent:
    """As ``ready_probe.Agent``, with coroutines. Make it where the event loop runs.

    :param watchdog: how long the event loop may be blocked while the agent is ready, at least
        0.1 s, 10 s by default; ``None`` to leave it unwatched.

    The other parameters and the errors are those of ``ready_probe.Agent``.

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
            total_seconds = getattr(watchdog, "total_seconds", None)
            limit = total_seconds() if total_seconds else watchdog
            self._pause = limit / _TICKS_PER_LIMIT
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
        """Prove progress of work under ``progress``; otherwise the loop does that by itself."""
        self._agent.tick()

    def progress(self, function):
        """Decorate the function that does the work, a coroutine function as a rule. While it runs,
        that the loop runs is not enough: the work has to ``tick`` within the watchdog's limit, so
        that waiting for ever is a stall, too. Of several that run at once any may tick.

        >>> async def main():
        ...     agent = Agent("worker", watchdog=10)
        ...     @agent.progress
        ...     async def work(parts):
        ...         async for part in parts:
        ...             agent.tick()
        """
        if iscoroutinefunction(function):

            @wraps(function)
            async def watched(*args, **kwargs):
                self._begin_work()
                try:
                    return await function(*args, **kwargs)
                finally:
                    self._end_work()
        else:

            @wraps(function)
            def watched(*args, **kwargs):
                self._begin_work()
                try:
                    return function(*args, **kwargs)
                finally:
                    self._end_work()

        return watched

    async def wait_announced(self, timeout=10.0):
        """As ``ready_probe.Agent.wait_announced``; can be cancelled."""
        total_seconds = getattr(timeout, "total_seconds", None)
        seconds = total_seconds() if total_seconds else timeout
        if seconds < 0:
            raise ConfigError(f"timeout of {seconds} seconds can't be used: it is a positive number")
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        pause, longest = _POLL
        while not self._agent._native.is_announced():
            left = until - loop.time()
            if left <= 0:
                self._agent._native.unavailable(timeout)
                return
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, longest)

    async def close(self, reason="closed"):
        """As ``ready_probe.Agent.close``. Waits for the store in another thread."""
        await self._leave(self._agent.close, reason)

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, exception, traceback):
        await self._leave(self._agent.__exit__, kind, exception, traceback)

    def __repr__(self):
        return repr(self._agent).replace("ready_probe.Agent", "ready_probe.aio.Agent")

    async def _leave(self, how, *args):
        if self._beat is not None:
            self._beat.cancel()
        leaving = asyncio.ensure_future(asyncio.to_thread(how, *args))
        # A task that is cancelled must not leave the signal behind.
        try:
            await asyncio.shield(leaving)
        except asyncio.CancelledError:
            await leaving
            raise

    def _prove(self, loop):
        """The loop runs."""
        if not self._at_work:
            try:
                self._agent.tick()
            except (ClosedError, ForkedProcessError):
                return
        self._beat = loop.call_later(self._pause, self._prove, loop)

    def _begin_work(self):
        # The work's time begins now.
        self._agent.tick()
        self._at_work += 1

    def _end_work(self):
        self._at_work -= 1
        # Closed by the work itself, it has nothing to prove any more.
        if not self._agent._native.closed:
            self._agent.tick()
