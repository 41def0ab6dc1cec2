"""An agent as people write them. Of the ready-signal code it once had, only the import line is new."""

import logging
import signal
import sys
import time

from ready_probe import mark_agent_not_ready, mark_agent_ready

logger = logging.getLogger(__name__)


class YourAgent:
    def __init__(self):
        self.agent_name = "YourAgent"
        self.port = 5555
        self.health_port = 6555

    def start(self):
        try:
            # … load the model, connect, warm up …

            # Mark as ready ONLY when truly ready
            mark_agent_ready(self.agent_name, {
                'port': self.port,
                'health_port': self.health_port,
                'startup_time': time.time()
            })

        except Exception as e:
            logger.error(f"Failed to start {self.agent_name}: {e}")
            # Do NOT mark as ready on failure

    def shutdown(self):
        # Mark as not ready before shutdown
        mark_agent_not_ready(self.agent_name, "graceful shutdown")
        # … finish what is in flight …


if __name__ == "__main__":
    agent = YourAgent()
    # Before it is ready: whoever sees that it is may end it at once.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(agent.shutdown()))
    agent.start()
    while True:
        signal.pause()
