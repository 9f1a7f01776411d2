"""Where glmd keeps its files. GLMD_RUNTIME_DIR, GLMD_DATA_DIR and GLMD_CONFIG move the folders."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs

DEFAULT_NAME = "default"

# A UNIX socket's path holds 107 bytes; the file names below need 12 of them.
SOCKET_PATH_MAX = 107


def runtime_dir(name: str = DEFAULT_NAME) -> Path:
    """Sockets, lock and process facts of the daemon `name`: gone after a reboot, private to the
    user."""
    base = os.environ.get("GLMD_RUNTIME_DIR")
    if base:
        return Path(base).absolute() / name
    xdg = os.environ.get("XDG_RUNTIME_DIR")
    if xdg and Path(xdg).is_dir():
        return Path(xdg) / "glmd" / name
    return Path(tempfile.gettempdir()) / f"glmd-{os.getuid()}" / name


def data_dir(name: str = DEFAULT_NAME) -> Path:
    """Sessions and logs of the daemon `name`."""
    base = os.environ.get("GLMD_DATA_DIR")
    return (Path(base).absolute() if base else Path(platformdirs.user_data_dir("glmd"))) / name


def config_dir() -> Path:
    """`config.toml` and `plugins/`."""
    base = os.environ.get("GLMD_CONFIG")
    return Path(base).absolute() if base else Path(platformdirs.user_config_dir("glmd"))


def lock_file(name: str = DEFAULT_NAME) -> Path:
    return runtime_dir(name) / "lock"


def socket_file(name: str = DEFAULT_NAME) -> Path:
    return runtime_dir(name) / "sock"


def facts_file(name: str = DEFAULT_NAME) -> Path:
    """JSON about the running daemon: pid, boot_id, endpoints, protocol versions."""
    return runtime_dir(name) / "daemon.json"


def log_file(name: str = DEFAULT_NAME) -> Path:
    return data_dir(name) / "glmd.log"


def sessions_file(name: str = DEFAULT_NAME) -> Path:
    return data_dir(name) / "sessions.db"


def config_file() -> Path:
    return config_dir() / "config.toml"


def plugins_dir() -> Path:
    return config_dir() / "plugins"


def embedded_model() -> Path:
    """The small model that ships with the package."""
    return Path(__file__).parent / "models" / "glm3-nano"
