"""A web service: `uvicorn service:app`. It is ready from the end of its start-up on while its event loop
runs, and says `stopping` from SIGTERM on while it finishes the requests that are in flight."""

from contextlib import asynccontextmanager

from fastapi import FastAPI

from ready_probe import aio


@asynccontextmanager
async def lifespan(app):
    async with aio.Agent("service", watchdog=10, install_signal_handlers=True) as agent:
        # … load the model, connect, warm up …
        await agent.mark_ready()
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def hello():
    return {"hello": "world"}
