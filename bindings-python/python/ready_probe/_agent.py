"""Agents: the public face. What they do is in the extension."""

from ready_probe import _life, _native
from ready_probe._errors import ReadyProbeError


def mark_agent_ready(name, details=None, *, ttl=60.0, watchdog=None, store=None):
    """Say that agent ``name`` does its work.

    The first call registers the agent; its signal is kept alive from then on, until the process
    ends. Returns once the local signal is written, also while the store is away. Safe to call from
    any thread, and again.

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
    :param reason: one line; the first 256 characters are published.

    :raises InvalidName: the name breaks the rule.
    :raises ConfigError: READY_STORE can't be used.
    :raises ClosedError: an ``Agent`` of that name says ``stopping``.
    :raises ForkedProcessError: only the process that this one was forked from publishes the name.
    :raises ReadyProbeError: the signal can't be written anywhere in the container.

    >>> mark_agent_not_ready("translator", "reloading the model")
    """
    _life.begin()
    _native.mark_agent_not_ready(name, reason)


class Agent:
    """An agent of this process, published as ``starting`` from now on until it is closed.

    It lives until ``close``, the end of the ``with`` block, or the end of the process, also when
    nothing refers to it any more.

    :param name: a letter or digit, then letters, digits, ``.``, ``_`` or ``-``, at most 128 in all.
    :param ttl: how long the signal lives after a beat, 1 s to 1 h.
    :param heartbeat: the interval of the beats; a sixth of the TTL by default, at most half of it.
    :param watchdog: promises a ``tick`` at least this often while the agent is ready, at least
        0.1 s; otherwise it is ``stalled`` until the next one.
    :param store: where to announce the signal, instead of READY_STORE: ``redis://…``, ``nats://…``.
    :param namespace: keeps fleets apart in the store, instead of READY_NAMESPACE.
    :param install_signal_handlers: on SIGTERM, say ``stopping``, then do what was done before.

    Durations are seconds, as a number or a ``timedelta``.

    :raises InvalidName: the name or the namespace breaks the rule.
    :raises ConfigError: an argument or READY_STORE can't be used, or this process publishes the
        name already.
    :raises ReadyProbeError: the signal can't be written anywhere in the container.

    >>> with Agent("summarizer", watchdog=10) as agent:
    ...     agent.mark_ready({"model": "large"})
    ...     for job in ["one", "two"]:
    ...         agent.tick()
    """

    __slots__ = ("_native", "_on_demand", "__weakref__")

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
        self._on_demand = False
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
        """Say that the agent does its work. Returns once the local signal is written.

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

        :param reason: one line; the first 256 characters are published.
        :raises ClosedError: the agent was closed, or says ``stopping``.
        :raises ForkedProcessError: the agent belongs to the process that this one was forked from.
        :raises ReadyProbeError: the signal can't be written now; it is tried until it is.

        >>> Agent("translator").mark_not_ready("reloading the model")
        """
        self._native.mark_not_ready(reason)

    def tick(self):
        """Prove progress to the watchdog. Takes no lock and does not give up the GIL: call it in the
        innermost loop. The first tick after a stall publishes ``ready`` before it returns. While the
        agent says ``stopping`` it does nothing: work in flight finishes as usual.

        :raises ClosedError: the agent was closed.
        :raises ForkedProcessError: the agent belongs to the process that this one was forked from.
        :raises ReadyProbeError: the end of a stall can't be written now; it is tried until it is.
        """
        self._native.tick()

    def progress(self, function):
        """Decorate the function that does the work: the watchdog watches while it runs, and not
        while the agent waits for work. Also for coroutine functions. A function that returns before
        its work is done, as one that only returns an awaitable, is watched until it returns.

        :param function: what does the work, or an object that can be called.
        :raises TypeError: a generator function, whose work is done after it has returned: decorate
            what does one step.
        :raises ClosedError: the agent was closed: here, and when the work begins. Work that is under
            way when the agent is closed or says ``stopping`` ends as it would have.
        :raises ForkedProcessError: the agent belongs to the process that this one was forked from.

        >>> agent = Agent("worker", watchdog=10)
        >>> @agent.progress
        ... def work(job):
        ...     for part in job:
        ...         agent.tick()
        """
        watched = _watch(function, lambda: _Watched(self._native))
        if not self._on_demand:
            self._native.disarm()
            self._on_demand = True
        return watched

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

    def drain(self, reason):
        """Say ``stopping`` while a ``with`` block finishes what is in flight; then close.

        :param reason: one line; the first 256 characters are published.
        :raises ClosedError: the agent was closed.
        :raises ForkedProcessError: the agent belongs to the process that this one was forked from.
        :raises ReadyProbeError: ``stopping`` can't be written.

        >>> agent = Agent("translator")
        >>> with agent.drain("deploy"):
        ...     pass  # finish
        """
        return _Drain(self, reason)

    def close(self, reason="closed"):
        """Say ``stopping``, and remove the signal, here and in the store. Again, it does nothing.

        :param reason: one line; the first 256 characters are published.
        :raises ForkedProcessError: the agent belongs to the process that this one was forked from.
        :raises ReadyProbeError: ``stopping`` can't be written; the agent is closed even so.

        >>> Agent("translator").close("deploy")
        """
        self._end(self._native.close, reason)

    def __enter__(self):
        return self

    def __exit__(self, kind, exception, traceback):
        if kind is None:
            self._exit(kind, self._native.close, "closed")
        elif issubclass(kind, Exception):
            # The record stays, and fails: the container is not healthy without what has failed.
            self._exit(kind, self._native.fail, _reason_of(kind, exception))
        else:
            # SystemExit, KeyboardInterrupt, CancelledError: how a program is ended.
            self._exit(kind, self._native.close, _reason_of(kind, exception))

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
            # A reason that is no str closes nothing.
            if self._native.closed:
                _life.let_go(self._native)
                from sys import modules

                signals = modules.get("ready_probe._signals")
                if signals is not None:
                    signals.forget(self._native)


class _Watched:
    """The watchdog watches while this is entered."""

    __slots__ = ("_native",)

    def __init__(self, native):
        self._native = native

    def __enter__(self):
        self._native.arm()

    def __exit__(self, kind, exception, traceback):
        # What the work returns or raises goes first. The end of a stall that can't be written has
        # been logged, and is tried again; what was closed, or left to the parent by a fork, has
        # nothing to watch any more.
        try:
            self._native.disarm()
        except ReadyProbeError:
            pass


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


def _watch(function, watched):
    """``function``, run inside of a ``watched()``."""
    from functools import wraps
    from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction

    # An object that can be called is what its class says.
    called = (function, getattr(type(function), "__call__", None))
    if not callable(function):
        raise TypeError(f"progress decorates functions, not {type(function).__name__}")
    if any(isgeneratorfunction(each) or isasyncgenfunction(each) for each in called):
        raise TypeError("progress can't watch a generator function: decorate what does one step")
    if any(map(iscoroutinefunction, called)):

        @wraps(function)
        async def work(*args, **kwargs):
            with watched():
                return await function(*args, **kwargs)
    else:

        @wraps(function)
        def work(*args, **kwargs):
            with watched():
                return function(*args, **kwargs)

    return work


def _reason_of(kind, exception):
    """What is said of an agent whose block ends with this exception."""
    # The first of a group says more than the group.
    while isinstance(members := getattr(exception, "exceptions", None), tuple):
        if not members or not isinstance(members[0], BaseException):
            break
        exception = members[0]
        kind = type(exception)
    try:
        text = str(exception)
    except Exception:
        # An exception that can't say what it is still has a name.
        text = ""
    return f"{kind.__name__}: {text}" if text else kind.__name__
