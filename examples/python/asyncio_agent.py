"""An agent of asyncio that takes jobs, one a line of its standard input, until that ends. The job
`block` does what no coroutine should: it keeps the event loop from running."""

import asyncio
import sys
import time

from ready_probe import aio


async def main():
    async with aio.Agent("asyncio-agent", watchdog=1) as agent:
        await agent.mark_ready()
        while job := await asyncio.to_thread(sys.stdin.readline):
            if job == "block\n":
                time.sleep(3)
            print("done", job.strip(), flush=True)


asyncio.run(main())
