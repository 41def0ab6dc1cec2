"""Why an agent is not ready, in words: a text, or an exception that says what it is."""


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
