"""Decorating what does the work."""


def watch(function, working):
    """``function``, run inside of a ``working()``."""
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
            with working():
                return await function(*args, **kwargs)
    else:

        @wraps(function)
        def work(*args, **kwargs):
            with working():
                return function(*args, **kwargs)

    return work
