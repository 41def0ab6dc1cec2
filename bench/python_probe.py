"""The health check that people write today: ping Redis, ping NATS, read one file.

usage: python_probe.py RECORD REDIS_URL NATS_URL
"""

import asyncio
import sys

import nats
import redis


def check_record(path: str) -> None:
    with open(path) as record:
        if not record.read():
            raise RuntimeError(f"{path}: empty")


def check_redis(url: str) -> None:
    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    client.ping()
    client.close()


async def check_nats(url: str) -> None:
    client = await nats.connect(url, connect_timeout=2, allow_reconnect=False)
    await client.flush(timeout=2)
    await client.close()


def main() -> int:
    record, redis_url, nats_url = sys.argv[1:]
    try:
        check_record(record)
        check_redis(redis_url)
        asyncio.run(check_nats(nats_url))
    except Exception as error:
        print(f"unhealthy: {error}")
        return 1
    print("healthy: 1 record, redis, nats")
    return 0


if __name__ == "__main__":
    sys.exit(main())
