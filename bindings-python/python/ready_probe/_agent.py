"""Agents: the public face. What they do is in the extension."""

from ready_probe import _life, _native
from ready_probe._errors import ReadyProbeError
from ready_probe._reason import reason as _text
from ready_probe._reason import reason_of
from ready_probe._work import watch


def mark_agent_ready(name, details=None, *, ttl=60.0, watchdog=None, store=None):
    """Say that agent ``name`` does its work.

    The first call registers the agent; its signal is kept alive from then on, until the process
    ends. Returns once the local signal is written, even while the store is away. Any thread may call
    it, as often as it likes.

    :param name: a letter or digit, then letters, digits, ``.``, ``_`` or ``-``, at most 128 in all.
    :param details: a dict that can be written as JSON, for people and dashboards.
    :param ttl: how long the signal lives after a beat, 1 s to 1 h. Seconds or a ``timedelta``.
    :param watchdog: promises a call of this function, or of ``mark_agent_not_ready``, at least this
        often while the agent is ready; otherwise it is ``stalled``. At least 0.1 s.
    :param store: where to announce the signal, instead of READY_STORE: ``redis://…``, ``nats://…``.

    ``ttl``, ``watchdog`` and ``store`` are those of the first call; later ones change nothing.

    :raises InvalidName: the name breaks the rule.
    :raises ConfigError: an argument or READY_STORE can't be used.
    :raises ClosedError: an ``Agent`` of that name says ``stopping``.
    :raises ReadyProbeError: the signal can't be written anywhere in the container.

    >>> mark_agent_ready("translator", {"port": 5555})
    """
    _life.begin()
    _native.mark_agent_ready(name, details, ttl, watchdog, store)


def mark_agent_not_ready(name, reason):
    """Say that agent ``name`` can't do its work now, and why.

    The first call registers the agent, as ``mark_agent_ready`` does.

    :param name: as that of ``mark_agent_ready``.
    :param reason: one line, or an exception; the first 256 characters are published.

    :raises InvalidName: the name breaks the rule.
    :raises ConfigError: READY_STORE can't be used.
    :raises ClosedError: an ``Agent`` of that name says ``stopping``.
    :raises ForkedProcessError: only the process that this one was forked from publishes the name.
    :raises ReadyProbeError: the signal can't be written anywhere in the container.

    >>> mark_agent_not_ready("translator", "reloading the model")
    """
    _life.begin()
    _native.mark_agent_not_ready(name, _text(reason))


def find_agent(name):
    """The agent of that name which this process publishes, or ``None``: an ``Agent`` made elsewhere in
    the program, or what ``mark_agent_ready`` has registered. Of an ``aio.Agent`` it is the part without
    coroutines. In a forked child its parent's agents are not found.

    :param name: as that of ``mark_agent_ready``.
    :raises TypeError: the name is not a ``str``.

    >>> mark_agent_ready("translator")
    >>> find_agent("translator").state
    'ready'
    """
    native = _life.find(name) or _native.find_agent(name)
    if native is None:
        return None
    _life.hold(native)
    agent = object.__new__(Agent)
    agent._native = native
    return agent


class Agent:
    """An agent of this process, published as ``starting`` from now on until it is closed.

    It lives until ``close``, the end of the ``with`` block, or the end of the process, even if
    nothing refers to it any more.

    :param name: a letter or digit, then letters, digits, ``.``, ``_`` or ``-``, at most 128 in all.
    :param ttl: how long the signal lives after a beat, 1 s to 1 h.
    :param heartbeat: the interval of the beats; a sixth of the TTL by default, at most half of it.
    :param watchdog: promises a ``tick`` at least this often while the agent is ready, at least
        0.1 s; otherwise it is ``stalled`` until the next one. Once ``progress``, ``working`` or
        ``disarm`` was used, it promises that only for the work under way.
    :param store: where to announce the signal, instead of READY_STORE: ``redis://…``, ``nats://…``.
    :param namespace: keeps fleets apart in the store, instead of READY_NAMESPACE.
    :param install_signal_handlers: on SIGTERM, say ``stopping``, then do what was done before.

    Durations are seconds, as a number or a ``timedelta``.

    :raises InvalidName: the name or the namespace breaks the rule.
    :raises ConfigError: an argument or READY_STORE can't be used, or this process publishes the
        name already: close that agent, take another name, or get it with ``find_agent``.
    :raises ReadyProbeError: the signal can't be written anywhere in the container.

    >>> with Agent("summarizer", watchdog=10) as agent:
    ...     agent.mark_ready({"model": "large"})
    ...     for job in ["one", "two"]:
    ...         agent.tick()
    """

    __slots__ = ("_native", "__weakref__")

    def __init__(
        self,
        name,
        *,
        ttl=60.0,
        heartbeat=None,
        watchdog=None,
        store=None,
        namespace=None,
        install_signal_handlers=False,
    ):
        _life.begin()
        self._native = _native.Agent(name, ttl, heartbeat, watchdog, store, namespace)
        _life.hold(self._native)
        if install_signal_handlers:
            from ready_probe import _signals

            try:
                _signals.install(self._native)
            except BaseException:
                self.close("SIGTERM can't be handled")
                raise

    @property
    def name(self):
        """The agent's name."""
        return self._native.name

    @property
    def state(self):
        """What the signal says now: ``"starting"``, ``"ready"``, ``"not_ready"`` (also while the
        agent is stalled) or ``"stopping"`` (also once it is closed).

        :raises ForkedProcessError: the agent belongs to the process that this one was forked from.
        """
        return self._native.state

    @property
    def announced(self):
        """What the store made of the last record that it was sent: an ``Announced``. ``None`` before
        the first answer, and where there is no store.

        :raises ForkedProcessError: the agent belongs to the process that this one was forked from.
        """
        return self._native.announced

    def mark_ready(self, details=None):
        """Say that the agent does its work. Returns once the local signal is written. Said again, it
        renews the details, but proves no progress of work under way.

        :param details: a dict that can be written as JSON.
        :raises ConfigError: the details can't be published; what the agent said last stands.
        :raises ClosedError: the agent was closed, or says ``stopping``.
        :raises ForkedProcessError: the agent belongs to the process that this one was forked from.
        :raises ReadyProbeError: the signal can't be written now; it is tried until it is.

        >>> Agent("translator").mark_ready({"port": 5555})
        """
        self._native.mark_ready(details)

    def mark_not_ready(self, reason):
        """Say that the agent can't do its work now, and why. The details stay.

        :param reason: one line, or an exception; the first 256 characters are published.
        :raises ClosedError: the agent was closed, or says ``stopping``.
        :raises ForkedProcessError: the agent belongs to the process that this one was forked from.
        :raises ReadyProbeError: the signal can't be written now; it is tried until it is.

        >>> Agent("translator").mark_not_ready("reloading the model")
        """
        self._native.mark_not_ready(_text(reason))

    def tick(self):
        """Prove progress to the watchdog: of the innermost call of ``progress`` or ``working`` that
        this task or thread is in, and of those around it. In a thread that is in none, such as one of an
        executor's, it counts for all calls that are under way.

        Takes no lock and does not give up the GIL: call it in the innermost loop. The tick that ends a
        stall publishes ``ready`` before it returns. While the agent says ``stopping`` it does nothing:
        work in flight finishes as usual.

        :raises ClosedError: the agent was closed.
        :raises ForkedProcessError: the agent belongs to the process that this one was forked from, and
            this one has none of that name; not where work under ``progress`` or ``working`` was begun here.
        :raises ReadyProbeError: the end of a stall can't be written now; it is tried until it is.
        """
        self._native.tick()

    def working(self):
        """Watch a ``with`` block: while it runs it has to ``tick`` as often as the watchdog demands,
        whatever other blocks do, and the agent is ``stalled`` while any of them is late. Between such
        blocks the agent is idle, and not stalled, for however long it waits for work.

        What ``as`` names has a ``tick`` of its own, for work that goes on in another thread.

        :raises ClosedError: the agent was closed before the block begins. Work that is under way when
            the agent is closed or says ``stopping`` ends as it would have.
        :raises RuntimeError: the same block is entered again: each call of this function is for one.

        In a forked child whose parent made the agent, the block is one of the child's own agent of that
        name. Where it has none, the block runs unwatched, and a warning in the log says once what to do.

        >>> agent = Agent("worker", watchdog=10)
        >>> with agent.working():
        ...     for part in ["one", "two"]:
        ...         agent.tick()
        """
        return self._native.working()

    def progress(self, function):
        """Decorate the function that does the work: each call of it is a block of ``working``. Also for
        coroutine functions. A function that returns before its work is done, such as one that only
        returns an awaitable, is watched until it returns.

        :param function: what does the work, or an object that can be called.
        :raises TypeError: a generator function, whose work is done after it has returned: decorate
            what does one step.
        :raises ClosedError: the agent was closed: here, and when the work begins. Work that is under
            way when the agent is closed or says ``stopping`` ends as it would have.

        In a forked child whose parent made the agent, the work is that of the child's own agent of that
        name. Where it has none, the work is done unwatched, and a warning in the log says once what to do.

        >>> agent = Agent("worker", watchdog=10)
        >>> @agent.progress
        ... def work(job):
        ...     for part in job:
        ...         agent.tick()
        """
        watched = watch(function, self._native.working)
        self._native.on_demand()
        return watched

    def arm(self):
        """Have the watchdog watch for any ``tick`` at all, from whichever thread it comes, until
        ``disarm``: for work that begins in one place and ends in another, such as two hooks of a
        framework. This counts as progress. The watchdog watches until it is disarmed as often as it was
        armed.

        :raises ClosedError: the agent was closed.
        :raises ForkedProcessError: as ``tick``.
        :raises ReadyProbeError: as ``tick``.

        >>> agent = Agent("worker", watchdog=10)
        >>> agent.disarm()
        >>> agent.mark_ready()
        >>> for job in ["one", "two"]:
        ...     agent.arm()
        ...     agent.tick()
        ...     agent.disarm()
        """
        self._native.arm()

    def disarm(self):
        """Take back one ``arm``. Without one, take back what holds for every new agent: that it is
        watched from the moment it is marked ready. From then on an agent that waits for work is idle,
        and not stalled. Ends a stall for want of ticks.

        :raises ClosedError: the agent was closed.
        :raises ForkedProcessError: as ``tick``.
        :raises ReadyProbeError: as ``tick``.

        >>> agent = Agent("worker", watchdog=10)
        >>> agent.disarm()
        """
        self._native.disarm()

    def wait_announced(self, timeout=10.0):
        """Wait until the store has what the agent says now, for callers who need to know that
        others can see it.

        :param timeout: how long to wait at most, from 0 s on. Signals are handled meanwhile.
        :raises StoreUnavailable: it does not have it by then; it is announced later all the same.
        :raises ConfigError: there is no store, or the timeout can't be used.
        :raises ClosedError: the agent was closed.
        :raises ForkedProcessError: the agent belongs to the process that this one was forked from.

        >>> Agent("peer", store="redis://redis").wait_announced(timeout=30)
        """
        self._native.wait_announced(timeout)

    def mark_stopping(self, reason):
        """Say ``stopping``, and keep the signal until ``close`` or the end of the process: for when the
        end begins in a hook of a framework, and what is in flight is finished elsewhere. Said twice,
        the first reason stands.

        :param reason: one line, or an exception; the first 256 characters are published.
        :raises ClosedError: the agent was closed.
        :raises ForkedProcessError: the agent belongs to the process that this one was forked from.
        :raises ReadyProbeError: ``stopping`` can't be written.

        >>> Agent("translator").mark_stopping("warm shutdown")
        """
        self._native.mark_stopping(_text(reason))

    def drain(self, reason):
        """Say ``stopping`` while a ``with`` block finishes what is in flight; then close.

        :param reason: one line, or an exception; the first 256 characters are published.
        :raises ClosedError: the agent was closed.
        :raises ForkedProcessError: the agent belongs to the process that this one was forked from.
        :raises ReadyProbeError: ``stopping`` can't be written.

        >>> agent = Agent("translator")
        >>> with agent.drain("deploy"):
        ...     pass  # finish
        """
        return _Drain(self, _text(reason))

    def close(self, reason="closed"):
        """Say ``stopping``, and remove the signal, here and in the store. A second call does nothing.

        :param reason: one line, or an exception; the first 256 characters are published.
        :raises ForkedProcessError: the agent belongs to the process that this one was forked from.
        :raises ReadyProbeError: ``stopping`` can't be written; the agent is closed even so.

        >>> Agent("translator").close("deploy")
        """
        self._end(self._native.close, _text(reason))

    def __enter__(self):
        return self

    def __exit__(self, kind, exception, traceback):
        if kind is None:
            self._exit(kind, self._native.close, "closed")
        elif issubclass(kind, Exception):
            # The record stays, and fails: the container is not healthy without what has failed.
            self._exit(kind, self._native.fail, reason_of(kind, exception))
        else:
            # SystemExit, KeyboardInterrupt, CancelledError: how a program is ended.
            self._exit(kind, self._native.close, reason_of(kind, exception))

    def __repr__(self):
        state = "closed" if self._native.closed else self._native.state
        return f"<ready_probe.Agent {self.name}: {state}>"

    def _exit(self, kind, how, reason):
        # Nothing is left to do for one that is closed, or belongs to the parent of a forked child.
        if self._native.closed:
            return
        try:
            self._end(how, reason)
        except ReadyProbeError:
            # A signal that can't be written must not hide why the block ends.
            if kind is None:
                raise

    def _end(self, how, reason):
        try:
            how(reason)
        finally:
            # A reason that is not a str closes nothing.
            if self._native.closed:
                _life.let_go(self._native)
                from sys import modules

                signals = modules.get("ready_probe._signals")
                if signals is not None:
                    signals.forget(self._native)


class _Drain:
    """The agent says ``stopping`` while this is entered."""

    __slots__ = ("_agent", "_reason")

    def __init__(self, agent, reason):
        self._agent = agent
        self._reason = reason

    def __enter__(self):
        self._agent._native.mark_stopping(self._reason)

    def __exit__(self, kind, exception, traceback):
        self._agent._exit(kind, self._agent._native.close, self._reason)
