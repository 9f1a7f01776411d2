"""Where a daemon listens, and how to prove to it who one is."""

from __future__ import annotations

from typing import NamedTuple

import zmq

from glmd import control, keys
from glmd.errors import ConnectionFailed, DaemonNotRunning


class Endpoint(NamedTuple):
    """`server_key`: the daemon's public CURVE key, 32 bytes; None on the local socket, which the
    file system guards."""

    address: str
    server_key: bytes | None = None

    @property
    def is_local(self) -> bool:
        return self.address.startswith("ipc:")

    def connect(self, socket: zmq.Socket[bytes]) -> None:
        """Raises GlmdError for an address that is none."""
        if self.server_key is not None:
            own = keys.own("client")
            socket.curve_serverkey = self.server_key
            socket.curve_publickey, socket.curve_secretkey = own
        try:
            socket.connect(self.address)
        except zmq.ZMQError as error:
            raise ConnectionFailed(
                f"{self.address} is not an endpoint: {error.strerror}.",
                hint="Endpoints look like ipc:///path or tcp://host:port.",
            ) from None


def local(name: str) -> Endpoint:
    """The socket of this user's daemon `name`. Raises DaemonNotRunning."""
    facts = control.running(name)
    start = f"`{control.command('start', name)}`"
    if facts is None:
        raise DaemonNotRunning(
            f"No daemon named {name} is running.", hint=f"Start it with {start}."
        )
    if not facts.endpoints:
        raise DaemonNotRunning(
            f"The daemon {name} is {facts.state} and does not listen yet.",
            hint=f"{start} returns when it does.",
        )
    return Endpoint(facts.endpoints[0])


def remote(address: str, server_key: str | None) -> Endpoint:
    """A given address; tcp without a key looks for it in known_daemons. Raises GlmdError."""
    if server_key is None:
        return Endpoint(address, keys.daemon_key(address) if address.startswith("tcp:") else None)
    try:
        key = bytes.fromhex(server_key)
    except ValueError:
        key = b""
    if len(key) != keys.KEY_BYTES:
        raise ConnectionFailed(
            f"The server key is not {2 * keys.KEY_BYTES} hex digits.",
            hint="It is server_key in `glmd status --json` on the daemon's machine.",
        )
    return Endpoint(address, key)
