"""Where the daemon's log goes."""

from __future__ import annotations

import logging
import logging.handlers

from glmd import paths
from glmd.errors import StartFailed
from glmd.settings import LogLevel

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
FILE_BYTES = 4 << 20
FILES = 3  # old ones that are kept, as glmd.log.1 and on


def open_log(name: str, level: LogLevel, *, also_stderr: bool) -> None:
    """Log to the rotating file of daemon `name`. Raises StartFailed."""
    path = paths.log_file(name)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handlers: list[logging.Handler] = [
            logging.handlers.RotatingFileHandler(
                path, maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8"
            )
        ]
    except OSError as error:
        raise StartFailed(
            f"The log {path} cannot be written: {error.strerror}.", hint="GLMD_DATA_DIR moves it."
        ) from None
    if also_stderr:
        handlers.append(logging.StreamHandler())
    for handler in handlers:
        handler.setFormatter(logging.Formatter(FORMAT))
    logging.basicConfig(level=level.upper(), handlers=handlers, force=True)
    logging.captureWarnings(True)
