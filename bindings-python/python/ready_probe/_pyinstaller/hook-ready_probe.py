"""What PyInstaller can't see in the code of this package."""

from PyInstaller.utils.hooks import logger

from ready_probe import ReadyProbeError
from ready_probe._probe import _executable

# The package imports it when it is asked for, by its name.
hiddenimports = ["ready_probe.aio"]

# The top of the bundle: `HEALTHCHECK CMD ["/app/_internal/ready-probe"]` is what people write.
try:
    binaries = [(_executable(), ".")]
except ReadyProbeError as e:
    logger.warning("ready_probe: the program will have no health check: %s", e)
    binaries = []
