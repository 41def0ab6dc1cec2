"""The same for asyncio. The event loop itself proves progress: when it is blocked for longer than
the watchdog allows, the agent is ``stalled`` until it runs again.

    async with ready_probe.aio.Agent("translator") as agent:
        await agent.mark_ready({"port": 5555})
        ...

Make and use an agent in one running loop. When that loop has ended, the agent is not ready, and says so,
until it is marked in another one.
"""

import asyncio
import concurrent.futures
import threading
import weakref

from ready_probe import _agent, _native
from ready_probe._errors import ClosedError, ForkedProcessError, ReadyProbeError
from ready_probe._reason import reason as _text
from ready_probe._reason import reason_of
from ready_probe._work import watch

__all__ = ["Agent"]

# The loop ticks so often within the watchdog's limit.
_TICKS_PER_LIMIT = 5
# The pause between its steps where no watchdog is: it only has to be there.
_LONG_PAUSE = 60.0
# Pauses between two looks whether a signal is announced, in seconds.
_POLL = (0.005, 0.1)


class Agent:
    """As ``ready_probe.Agent``, with coroutines. Make it where the event loop runs.

    :param watchdog: how long the event loop may be blocked while the agent is ready, at least
        0.1 s, 10 s by default; ``None`` to leave it unwatched.

    The other parameters and the errors are those of ``ready_probe.Agent``, and besides:

    :raises RuntimeError: no event loop runs here: make it in a coroutine.

    >>> async def main():
    ...     async with Agent("translator", watchdog=5) as agent:
    ...         await agent.mark_ready({"port": 5555})
    """

    __slots__ = ("_agent", "_pause", "_proof", "__weakref__")

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
        loop = _running_loop()
        pause = _LONG_PAUSE
        if watchdog is not None:
            pause = _native.seconds("watchdog", watchdog) / _TICKS_PER_LIMIT
        self._pause = pause
        self._agent = _agent.Agent(
            name,
            ttl=ttl,
            heartbeat=heartbeat,
            watchdog=watchdog,
            store=store,
            namespace=namespace,
            install_signal_handlers=install_signal_handlers,
        )
        self._proof = _Proof.begin(self._agent._native, loop, pause)

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
        """As ``ready_probe.Agent.mark_ready``. It writes to memory, and so does not leave the loop. An
        agent whose loop has ended lives on in the one that marks it."""
        self._live_here()
        self._agent.mark_ready(details)

    async def mark_not_ready(self, reason):
        """As ``ready_probe.Agent.mark_not_ready``."""
        self._live_here()
        self._agent.mark_not_ready(reason)

    def tick(self):
        """Prove progress of work under ``progress`` or ``working``, as ``ready_probe.Agent.tick``: of
        the call that this task is in. The loop proves its own progress."""
        self._agent.tick()

    def working(self):
        """Watch a ``with`` block, as ``ready_probe.Agent.working``. While it runs, a running loop is not
        enough: the block has to ``tick`` within the watchdog's limit, so that waiting for ever is a
        stall, too. Each task has its own.

        >>> async def main():
        ...     agent = Agent("worker", watchdog=10)
        ...     with agent.working():
        ...         async for part in parts:
        ...             agent.tick()
        """
        return self._agent.working()

    def progress(self, function):
        """Decorate the function that does the work, a coroutine function as a rule: each call of it is a
        block of ``working``. What can be decorated, and the errors, are those of
        ``ready_probe.Agent.progress``.

        >>> async def main():
        ...     agent = Agent("worker", watchdog=10)
        ...     @agent.progress
        ...     async def work(parts):
        ...         async for part in parts:
        ...             agent.tick()
        """
        return watch(function, self._agent._native.working)

    def arm(self):
        """As ``ready_probe.Agent.arm``. A loop that runs is no ``tick``."""
        self._agent.arm()

    def disarm(self):
        """As ``ready_probe.Agent.disarm``; the loop is watched all the same."""
        self._agent.disarm()

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

    async def mark_stopping(self, reason):
        """As ``ready_probe.Agent.mark_stopping``."""
        self._agent.mark_stopping(reason)

    def drain(self, reason):
        """As ``ready_probe.Agent.drain``.

        >>> async def main():
        ...     agent = Agent("translator")
        ...     async with agent.drain("deploy"):
        ...         pass  # finish
        """
        return _Drain(self, _text(reason))

    async def close(self, reason="closed"):
        """As ``ready_probe.Agent.close``. Says ``stopping`` at once, and waits for the store in another
        thread."""
        reason = _text(reason)
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
            self._stop(reason_of(kind, exception))
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
            if self._agent._native.closed:
                self._prove_no_more()

    def _live_here(self):
        """The loop that runs here proves its progress, unless the agent's own one does."""
        loop, proof = _running_loop(), self._proof()
        if proof is not None and proof.goes_on_beside(loop):
            return
        self._prove_no_more()
        self._proof = _Proof.begin(self._agent._native, loop, self._pause)

    def _prove_no_more(self):
        proof = self._proof()
        if proof is not None:
            proof.is_over = True


class _Proof:
    """That an event loop runs. Only the loop holds it, as a timer of its own, and drops it when it is
    closed: that is how its end is noticed."""

    __slots__ = ("_native", "_loop", "_pause", "is_over", "__weakref__")

    def __init__(self, native, loop, pause):
        self._native = native
        self._loop = weakref.ref(loop)
        self._pause = pause
        self.is_over = False

    @classmethod
    def begin(cls, native, loop, pause):
        """The proof, as a reference that does not keep it."""
        native.loop_begins()
        proof = cls(native, loop, pause)
        loop.call_later(pause, proof)
        return weakref.ref(proof)

    def goes_on_beside(self, other):
        loop = self._loop()
        return not self.is_over and loop is not None and (loop is other or loop.is_running())

    def __call__(self):
        if self.is_over:
            return
        try:
            self._native.loop_runs()
        except (ClosedError, ForkedProcessError):
            self.is_over = True
            return
        except ReadyProbeError:
            # The end of a stall can't be written. It has been logged, and is tried again.
            pass
        self._loop().call_later(self._pause, self)

    def __del__(self):
        if self.is_over:
            return
        # The loop has ended, and nothing goes on in it. Whatever can't be said of that, closing the loop
        # must not fail.
        try:
            self._native.loop_ends()
            self._native.mark_not_ready("its event loop has ended")
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


def _running_loop():
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "no running event loop: make and mark an aio.Agent in a coroutine (async def main(): …, then "
            "asyncio.run(main())); without asyncio use ready_probe.Agent"
        ) from None


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
