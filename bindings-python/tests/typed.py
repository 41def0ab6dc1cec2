"""A typed program, checked by mypy in its strict mode; see test_package.py."""

from datetime import timedelta

import ready_probe
from ready_probe import Agent, Verdict, find_agent, mark_agent_not_ready, mark_agent_ready, probe

mark_agent_ready("translator", {"port": 5555}, ttl=30, watchdog=timedelta(seconds=10))
mark_agent_not_ready("translator", "reloading")

with Agent("summarizer", ttl=30.0, watchdog=10) as agent:

    @agent.progress
    def work(job: str) -> int:
        agent.tick()
        return len(job)

    length: int = work("job")
    with agent.working() as call:
        call.tick()
    agent.arm()
    agent.disarm()
    found: Agent | None = find_agent("summarizer")
    agent.mark_not_ready(ValueError("no such model"))
    state: str = agent.state
    if agent.announced is not None:
        reason: str | None = agent.announced.reason


async def main() -> None:
    async with ready_probe.aio.Agent("reader") as reader:
        await reader.mark_ready()

        @reader.progress
        async def read() -> bytes:
            return b""

        text: bytes = await read()
        with reader.working() as call:
            call.tick()
        reader.tick()
        async with reader.drain("deploy"):
            reader.tick()


verdict: Verdict = probe(["agent:translator"], timeout=2)
if not verdict:
    raise SystemExit(verdict.reason)
