"""What the Python package is held against: the same job with redis-py and a thread, written well.

A key with a TTL is set at every mark, and by a thread at every beat. There is no shared memory to write to,
so that a mark returns once Redis has it, or after a timeout. A failed beat is tried again at the next one.
"""

import json
import os
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

BEATS_PER_TTL = 6

_client = None
_lock = threading.Lock()
_agents = {}


class _Agent:
    def __init__(self, name, ttl):
        self.key = f"agent:{name}"
        self.ttl_ms = round(ttl * 1000)
        self.word = {}
        self.seq = 0

    def beat(self):
        with _lock:
            self.seq += 1
            record = {**self.word, "pid": os.getpid(), "seq": self.seq}
        try:
            _client.set(self.key, json.dumps(record), px=self.ttl_ms)
        except redis.RedisError:
            pass

    def beat_on(self):
        while True:
            time.sleep(self.ttl_ms / 1000 / BEATS_PER_TTL)
            self.beat()


def _mark(name, ttl, word):
    global _client
    with _lock:
        if _client is None:
            _client = redis.Redis.from_url(
                os.environ["READY_STORE"], socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0)
            )
        agent = _agents.get(name)
        if agent is None:
            agent = _agents[name] = _Agent(name, ttl)
            threading.Thread(target=agent.beat_on, daemon=True).start()
        agent.word = word
    agent.beat()


def mark_agent_ready(name, details=None, *, ttl=60.0):
    _mark(name, ttl, {"state": "ready", "details": details})
