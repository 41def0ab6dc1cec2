"""Workers in processes of their own, each with a signal of its own: one that dies or hangs in a job
is not ready, while one that waits for a job is. It takes jobs from its standard input, one a line:
`sleep SECONDS`."""

import multiprocessing
import sys
import time

from ready_probe import Agent


def worker(number, jobs):
    with Agent(f"worker-{number}", watchdog=1) as agent:

        @agent.progress
        def work(job):
            time.sleep(float(job.removeprefix("sleep ")))

        agent.mark_ready()
        for job in iter(jobs.get, None):
            work(job)


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    jobs = context.Queue()
    workers = [context.Process(target=worker, args=(n, jobs)) for n in (1, 2)]
    for process in workers:
        process.start()
    for line in sys.stdin:
        jobs.put(line.strip())
    for process in workers:
        jobs.put(None)
    for process in workers:
        process.join()
