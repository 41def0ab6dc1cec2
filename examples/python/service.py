"""A web service. It is ready from the end of its start-up to the beginning of its shutdown, and only
while its event loop runs: `uvicorn service:app`."""

from contextlib import asynccontextmanager

from fastapi import FastAPI

from ready_probe import aio


@asynccontextmanager
async def lifespan(app):
    async with aio.Agent("service", watchdog=10) as agent:
        # … load the model, connect, warm up …
        await agent.mark_ready()
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def hello():
    return {"hello": "world"}
