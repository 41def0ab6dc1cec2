"""Decorating what does the work, and why it ended in words."""


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


def reason(given):
    """A reason as text: an exception says what it is."""
    return reason_of(type(given), given) if isinstance(given, BaseException) else given


def reason_of(kind, exception):
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
