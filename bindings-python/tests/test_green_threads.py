"""gevent and eventlet go on while an agent lives."""

import pytest

GREEN = {
    "gevent": "from gevent import monkey, sleep, spawn; monkey.patch_all()",
    "eventlet": "from eventlet import monkey_patch, sleep, spawn; monkey_patch()",
}


@pytest.mark.parametrize("library", GREEN)
def test_green_threads_go_on_while_an_agent_lives_and_it_logs(run, library):
    run(
        f"""
        {GREEN[library]}
        import logging, time
        lines = []
        class Lines(logging.Handler):
            def emit(self, record):
                lines.append(record.getMessage())
        logging.getLogger("ready_probe").addHandler(Lines())
        logging.getLogger("ready_probe").setLevel("INFO")
        from ready_probe import Agent, mark_agent_ready, probe
        turns = []
        def take_turns():
            while True:
                turns.append(time.monotonic())
                sleep(0.001)
        spawn(take_turns)
        deadline = time.monotonic() + 20
        def until(look):
            while not look():
                assert time.monotonic() < deadline
                sleep(0.001)
        mark_agent_ready("function")
        agent = Agent("object", watchdog=0.2)
        agent.mark_ready()
        assert probe(["agent:function", "agent:object"])
        until(lambda: agent.state == "not_ready")
        until(lambda: lines)
        agent.tick()
        until(lambda: len(lines) == 2)
        assert lines[0].startswith("agent object: agent stalled"), lines
        assert len(turns) > 10
        """,
        options=("-W", "ignore"),
    )


def test_an_agent_does_not_keep_gevent_s_loop_going(run):
    run(
        """
        from gevent import monkey; monkey.patch_all()
        import gevent
        from ready_probe import mark_agent_ready
        mark_agent_ready("function")
        gevent.spawn(gevent.sleep, 0.01)
        assert gevent.wait(timeout=20)
        """
    )
