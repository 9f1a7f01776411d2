"""The ROUTER socket on the event loop: frames in, frames out, and who is still there.

Nothing here waits. ZeroMQ's descriptor is edge-triggered (zmq_getsockopt, ZMQ_FD): after any call
the socket may have become readable without the descriptor saying so, so every send is followed by a
look for messages.

libzmq tells when a connection ends only through its monitor, by file descriptor, and a message says
by which descriptor it came (ZMQ_SRCFD). Joined, they give the end of a client within milliseconds,
also of one that is sent nothing.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import zmq
from zmq.utils.monitor import parse_monitor_message

from glmd.keys import KeyPair

log = logging.getLogger(__name__)

# A message above the codec's bound still gets a sentence; beyond this ZeroMQ drops the connection.
MAX_FRAME = 4 << 20
HEARTBEAT_MS = 2000
HEARTBEAT_TIMEOUT_MS = 6000
HANDSHAKE_MS = 3000
QUEUED_MESSAGES = 1000  # per client and direction
BATCH = 16  # messages handled before the loop gets its turn

WATCHED = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH


class Sent(enum.Enum):
    YES = enum.auto()
    FULL = enum.auto()  # the client reads too slowly
    GONE = enum.auto()


class Handler(Protocol):
    def message(self, peer: bytes, fd: int, frames: list[bytes]) -> None:
        """`frames`: all behind the routing id."""

    def disconnected(self, fd: int) -> None: ...

    def full(self) -> None:
        """A client did not take what was sent."""


class Router:
    """`live`: descriptors of the connections that stand."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], handler: Handler) -> None:
        self._loop = asyncio.get_running_loop()
        self._handler = handler
        self._looking = False
        self.live: set[int] = set()
        self._socket = socket = context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
        socket.setsockopt(zmq.SNDHWM, QUEUED_MESSAGES)
        socket.setsockopt(zmq.RCVHWM, QUEUED_MESSAGES)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS)
        self._monitor = socket.get_monitor_socket(WATCHED)
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._monitor_descriptor = int(self._monitor.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self._look)
        self._loop.add_reader(self._monitor_descriptor, self.check_live)

    def bind_local(self, path: Path) -> str:
        """Listen on a UNIX socket that only this user can open; returns the endpoint. The caller
        holds the daemon's lock: a file in the way belongs to a dead daemon."""
        path.unlink(missing_ok=True)
        # The folder is 0700 already; these two hold should somebody open it up.
        self._socket.setsockopt(zmq.IPC_FILTER_UID, os.getuid())
        mask = os.umask(0o177)
        try:
            self._socket.bind(f"ipc://{path}")
        finally:
            os.umask(mask)
        self._look_soon()
        return f"ipc://{path}"

    def bind_tcp(self, endpoint: str, keys: KeyPair) -> str:
        """Listen on tcp, encrypted. Options count for the binds after them, so the local socket
        stays without."""
        self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        self._socket.bind(endpoint)
        self._look_soon()
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def send(self, peer: bytes, payload: bytes) -> Sent:
        self._look_soon()
        try:
            self._socket.send_multipart([peer, payload], zmq.NOBLOCK)
        except zmq.Again:
            self._handler.full()
            return Sent.FULL
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                log.warning("Sending failed: %s", error)
            return Sent.GONE
        return Sent.YES

    def check_live(self) -> None:
        """Take in everything the monitor knows by now."""
        while True:
            try:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            fd = int(event["value"])
            if event["event"] == zmq.EVENT_ACCEPTED:
                self.live.add(fd)
            elif event["event"] == zmq.EVENT_DISCONNECTED:
                self.live.discard(fd)
                self._guard(self._handler.disconnected, fd)
            else:
                log.warning("A client without an authorised key was turned away.")

    def close(self, linger_ms: int) -> None:
        """`linger_ms`: what the context's end may wait for messages to be read."""
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_reader(self._monitor_descriptor)
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=linger_ms)

    def _look_soon(self) -> None:
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        for _ in range(BATCH):
            if self._socket.closed:
                return
            try:
                peer, *frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            contents = [frame.bytes for frame in frames]
            self._guard(self._handler.message, peer.bytes, _descriptor(frames), contents)
        self._look_soon()

    def _guard(self, call: Callable[..., None], *arguments: object) -> None:
        """A fault in one message must not take the reader of all of them with it."""
        try:
            call(*arguments)
        except Exception:
            log.exception("A fault while handling a message.")


def _descriptor(frames: list[zmq.Frame]) -> int:
    """By which connection a message came, -1 where libzmq does not say. It does not for peers of
    ZMTP 1.0, and it takes many a random byte for one of those."""
    try:
        return int(frames[0].get(zmq.SRCFD)) if frames else -1
    except zmq.ZMQError:
        return -1
