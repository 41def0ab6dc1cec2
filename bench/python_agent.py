"""An agent that does what it is told, for python_sdk.py.

usage: python_agent.py ready_probe|redis_thread NAME TTL_S [WATCHDOG_S]
It prints "up", and then a line for each line that it reads: "mark N" marks it ready N times, and prints what each
call took, in ns. "hold S" computes for S seconds in one call that never gives up the GIL; it prints "holding" before
and "held" after.
"""

import importlib
import sys
import time


def marks(mark, count):
    took = []
    for i in range(count):
        begin = time.perf_counter_ns()
        mark({"i": i})
        took.append(time.perf_counter_ns() - begin)
    return took


def hold(seconds):
    print("holding", flush=True)
    end = time.monotonic() + seconds
    # All of it is C: the interpreter's loop, where the GIL is handed over, never gets its turn.
    any(map(end.__le__, iter(time.monotonic, None)))


def main():
    module, name, ttl, *watchdog = sys.argv[1:]
    options = {"ttl": float(ttl)}
    if watchdog:
        options["watchdog"] = float(watchdog[0])
    mark_agent_ready = importlib.import_module(module).mark_agent_ready

    def mark(details):
        mark_agent_ready(name, details, **options)

    print("up", flush=True)
    for line in sys.stdin:
        what, amount = line.split()
        if what == "mark":
            print(*marks(mark, int(amount)), flush=True)
        else:
            hold(float(amount))
            print("held", flush=True)


main()
