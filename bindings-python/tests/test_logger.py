"""What the SDK logs reaches the application's logger, before the process ends."""

LOGS = """
    import logging, os, threading, time
    logging.basicConfig(level="INFO", format="%(name)s %(levelname)s %(agent)s %(message)s")
    from ready_probe import Agent
    agent = Agent("logs", watchdog=0.2)
    agent.mark_ready()
    deadline = time.monotonic() + 20
    while agent.state == "ready":
        assert time.monotonic() < deadline
    """
STALLED = "ready_probe WARNING logs agent logs: agent stalled: no progress for "


def test_what_the_sdk_logs_reaches_the_logger_before_the_end(start):
    program = start(LOGS + "agent.tick()\n")
    status, _, err = program.end()
    lines = err.splitlines()
    assert status == 0
    assert lines[0].startswith(STALLED)
    assert lines[1] == "ready_probe INFO logs agent logs: agent makes progress again"


def test_a_forked_child_logs_too(start):
    program = start(
        LOGS
        + """
    if os.fork() == 0:
        agent = Agent("logs", watchdog=0.2)
        agent.mark_ready()
        while agent.state == "ready":
            assert time.monotonic() < deadline
    else:
        os.wait()
    """,
        options=("-W", "ignore"),
    )
    status, _, err = program.end()
    assert status == 0
    assert err.count(STALLED) == 2


FILTERED = """
    import logging, threading
    class Filter(logging.Filter):
        def filter(self, record):
            {body}
    logging.getLogger("ready_probe").addFilter(Filter())
    """


def test_a_filter_that_raises_silences_nothing_that_follows(start):
    body = "assert 'progress again' in record.getMessage(), 'bad filter'; return True"
    program = start(FILTERED.format(body=body) + LOGS + "agent.tick()\n")
    status, _, err = program.end()
    assert status == 0
    assert "AssertionError: bad filter" in err
    assert err.splitlines()[-1].endswith("agent logs: agent makes progress again")


def test_a_filter_that_blocks_does_not_keep_the_process_from_ending(start):
    program = start(FILTERED.format(body="threading.Event().wait()") + LOGS)
    assert program.end() == (0, "", "")
