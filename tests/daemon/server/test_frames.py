"""Whatever arrives at the socket, the daemon goes on."""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path

import msgpack
import pytest
from support.peer import Peer

from glmd.facts import DaemonFacts
from glmd.wire.codec import MAX_REQUEST, encode
from glmd.wire.replies import Failure
from glmd.wire.requests import Status

STATUS = encode(Status(id="s"))


def raw(facts: DaemonFacts) -> socket.socket:
    """A connection without ZeroMQ at this end."""
    plain = socket.socket(socket.AF_UNIX)
    plain.settimeout(20)
    plain.connect(facts.endpoints[0].removeprefix("ipc://"))
    return plain


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"\xc1"],
        [b"\xff" * 100],
        [b"GET / HTTP/1.1\r\n\r\n"],
        [b"", STATUS],
        [STATUS, STATUS],
        [b"x"] * 1000,
        [msgpack.packb([1, 2, 3])],
        [msgpack.packb({"op": "no such thing", "id": "1"})],
        [msgpack.packb({"op": "status"})],
        [b"\x81\xa2op" + b"\xa6status" + b"trailing"],
    ],
    ids=range(11),
)
@pytest.mark.parametrize("greet", [False, True], ids=["stranger", "client"])
def test_what_is_no_message_is_answered(
    shared_daemon: DaemonFacts, frames: list[bytes], greet: bool
) -> None:
    with Peer(shared_daemon.endpoints[0], greet=greet) as peer:
        peer.send_raw(*frames)
        error = peer.expect(Failure)
        assert error.code == "bad_message"
        assert error.message.endswith(".")
    with Peer(shared_daemon.endpoints[0]) as good:
        assert good.status().state == "ready"


def test_a_message_that_is_too_long_is_answered(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer:
        peer.send_raw(b"\x00" * (MAX_REQUEST + 1))
        error = peer.expect(Failure)
        assert error.code == "bad_message"
        assert f"{MAX_REQUEST:,}" in error.message
        assert peer.status().state == "ready"


def test_a_frame_far_too_long_ends_the_connection_only(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer, Peer(shared_daemon.endpoints[0]) as other:
        peer.send_raw(b"\x00" * (16 << 20))
        assert other.status().state == "ready"
        # ZeroMQ connects again, and the daemon does not know the new connection.
        peer.send(Status(id="s"))
        assert peer.expect(Failure).code == "hello_first"


def test_random_bytes_instead_of_a_greeting(shared_daemon: DaemonFacts) -> None:
    noise = random.Random(3)
    for _ in range(20):
        with raw(shared_daemon) as plain:
            plain.send(noise.randbytes(4096))
    with Peer(shared_daemon.endpoints[0]) as good:
        assert good.status().clients == 1


def test_silent_connections_are_closed(shared_daemon: DaemonFacts) -> None:
    plains = [raw(shared_daemon) for _ in range(50)]
    try:
        started = time.monotonic()
        with Peer(shared_daemon.endpoints[0]) as good:
            assert good.status().state == "ready"
        for plain in plains:
            while plain.recv(4096):
                pass  # ZeroMQ greets first, then waits
        assert time.monotonic() - started < 15
    finally:
        for plain in plains:
            plain.close()


def test_connections_leave_nothing_in_the_daemon(shared_daemon: DaemonFacts) -> None:
    def count() -> int:
        return sum(1 for _ in Path(f"/proc/{shared_daemon.pid}/fd").iterdir())

    with Peer(shared_daemon.endpoints[0]) as watcher:
        before = count()
        for _ in range(100):
            with Peer(shared_daemon.endpoints[0]) as peer:
                assert peer.status().clients >= 2
        deadline = time.monotonic() + 10
        while watcher.status().clients > 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert watcher.status().clients == 1
        # What looks plugins over ends by itself some time, and takes its own with it.
        assert count() <= before + 2
