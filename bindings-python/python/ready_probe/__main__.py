"""``python -m ready_probe``: the executable of this package, in place of the interpreter. For images
whose PATH does not lead to it."""

import os
import sys

from ready_probe._errors import ReadyProbeError
from ready_probe._probe import _executable


def main():
    try:
        program = _executable()
        os.execv(program, ["ready-probe", *sys.argv[1:]])
    except (OSError, ReadyProbeError) as e:
        # To a health check: unhealthy.
        sys.exit(f"ready-probe can't be run: {e}")


if __name__ == "__main__":
    main()
