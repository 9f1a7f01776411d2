"""Keys for the tcp endpoint, in the manner of ssh: a daemon and each client have a key pair, the
daemon lists the clients it lets in, and a client lists the daemons it knows.

Everything is a text file in the folder `keys` of the configuration, keys are 64 hex digits:

    daemon, client       a secret key each, made when first needed, for the owner's eyes only
    authorized_clients   on the daemon's machine: PUBLIC_KEY  any words
    known_daemons        on the client's machine: tcp://host:port  PUBLIC_KEY

The encryption is CurveZMQ, rfc.zeromq.org/spec/26.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

import zmq
from zmq.utils import z85

from glmd import paths
from glmd.errors import Refused, StartFailed

KEY_BYTES = 32


class KeyPair(NamedTuple):
    """Raw bytes, as ZeroMQ's options take them."""

    public: bytes
    secret: bytes


def own(role: Literal["daemon", "client"]) -> KeyPair:
    """This user's key pair for a role; made when there is none."""
    path = paths.keys_dir() / role
    try:
        if not path.exists():
            _make(path)
        if path.stat().st_mode & 0o077:
            raise StartFailed(f"Others can read {path}.", hint=f"Run `chmod 600 {path}`.")
        secret = _key(path.read_text(errors="replace").strip())
    except OSError as error:
        raise StartFailed(
            f"The key {path} cannot be used: {error.strerror}.", hint="GLMD_CONFIG moves it."
        ) from None
    if secret is None:
        raise StartFailed(
            f"{path} holds no key of {2 * KEY_BYTES} hex digits.",
            hint="Remove it, and a new one is made.",
        )
    return KeyPair(z85.decode(zmq.curve_public(z85.encode(secret))), secret)


def authorized() -> frozenset[bytes]:
    """Public keys of the clients that may connect. Read anew for each connection, so that a line
    counts from the moment it is written."""
    keys = (_key(words[0]) for words in _lines("authorized_clients"))
    return frozenset(key for key in keys if key is not None)


def daemon_key(endpoint: str) -> bytes:
    """The public key of the daemon at a tcp endpoint. Raises Refused where none is known."""
    for words in _lines("known_daemons"):
        key = _key(words[1]) if len(words) > 1 and words[0] == endpoint else None
        if key is not None:
            return key
    raise Refused(
        f"The key of the daemon at {endpoint} is not known here.",
        hint=f"Add a line to {paths.keys_dir() / 'known_daemons'}: {endpoint} KEY, where KEY is "
        "server_key in `glmd status --json` on the daemon's machine.",
    )


def _make(path: Path) -> None:
    """Write a new key in one step; another process may make one in the same moment and be first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd, fresh = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(z85.decode(zmq.curve_keypair()[1]).hex() + "\n")
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(fresh)
    finally:
        Path(fresh).unlink()


def _lines(file: str) -> list[list[str]]:
    try:
        text = (paths.keys_dir() / file).read_text(errors="replace")
    except OSError:
        return []
    return [words for line in text.splitlines() if (words := line.split("#")[0].split())]


def _key(text: str) -> bytes | None:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None
