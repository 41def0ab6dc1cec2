"""A program of whoever tests it: does what it is told, line by line of Python, until its input ends."""

import array
import os
import signal
import socket
import subprocess
import sys


def connected():
    speaker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    speaker.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
    return speaker


def say(text, *descriptors):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    with connected() as speaker:
        speaker.sendmsg([text.encode()], rights)


def fork(code):
    """A child that does that, and then what it is told by nobody: it waits."""
    child = os.fork()
    if child == 0:
        # No test takes so long, and none leaves it behind for longer.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(120)
        exec(code, globals())
        signal.pause()
    return child


def tell(*words):
    # In one piece, also in a handler that interrupts another one.
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


if __name__ == "__main__":
    for line in sys.stdin:
        exec(line)
