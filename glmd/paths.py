"""Where glmd keeps its files. GLMD_RUNTIME_DIR, GLMD_DATA_DIR and GLMD_CONFIG move the folders."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import platformdirs

from glmd.errors import StartFailed

DEFAULT_NAME = "default"

SOCKET_PATH_MAX = 107  # bytes that a UNIX socket's address holds, unix(7)


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


def toolchain_dir() -> Path:
    """The compiler for BM1684X, shared by all daemons and checkouts of the user: no daemon's name
    begins with a dot."""
    return data_dir(".tpu-mlir")


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


def stderr_file(name: str = DEFAULT_NAME) -> Path:
    """What the daemon in the background wrote outside its log: a crash, mostly."""
    return data_dir(name) / "stderr"


def sessions_file(name: str = DEFAULT_NAME) -> Path:
    return data_dir(name) / "sessions.db"


def config_file() -> Path:
    return config_dir() / "config.toml"


def keys_dir() -> Path:
    """CURVE keys for tcp: see glmd.keys."""
    return config_dir() / "keys"


def plugins_dir() -> Path:
    return config_dir() / "plugins"


def disabled_plugins_file() -> Path:
    """A name a line."""
    return config_dir() / "disabled_plugins"


def embedded_model() -> Path:
    """The small model that ships with the package."""
    return Path(__file__).parent / "models" / "glm3-nano"


def make_private(folder: Path) -> None:
    """Create a folder that only this user can enter, or check that it is one.

    Whoever can write to it, or to the folder around it, could put another socket in the place of
    the daemon's. Raises StartFailed saying how to mend it.
    """
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        around, own = folder.parent.stat(), folder.lstat()
    except OSError as error:
        raise StartFailed(
            f"The folder {folder} cannot be made: {error.strerror}.",
            hint="GLMD_RUNTIME_DIR moves it.",
        ) from None
    if around.st_uid not in {0, os.getuid()} or (
        around.st_mode & 0o022 and not around.st_mode & stat.S_ISVTX
    ):
        raise StartFailed(
            f"Others can write to {folder.parent}.",
            hint=f"Run `chmod go-w {folder.parent}` if it is yours; GLMD_RUNTIME_DIR moves it.",
        )
    if not stat.S_ISDIR(own.st_mode) or own.st_uid != os.getuid():
        raise StartFailed(
            f"{folder} is not a folder of user {os.getuid()}.",
            hint="Remove it, or set GLMD_RUNTIME_DIR to a folder of yours.",
        )
    if own.st_mode & 0o077:
        raise StartFailed(
            f"Others can enter {folder} (mode {stat.S_IMODE(own.st_mode):04o}).",
            hint=f"Run `chmod 700 {folder}`.",
        )


def check_socket_length(path: Path) -> None:
    """Raises StartFailed when `path` is too long to be a UNIX socket."""
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_MAX:
        raise StartFailed(
            f"The socket path {path} has {length} bytes; Linux allows {SOCKET_PATH_MAX}.",
            hint="Set GLMD_RUNTIME_DIR to a shorter folder.",
        )
