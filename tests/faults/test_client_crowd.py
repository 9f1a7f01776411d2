"""Thousands of connections that say nothing: those who speak are served."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.peer import Peer, endless

from glmd.facts import DaemonFacts
from glmd.wire.replies import Done

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
CROWD = min(3000, HARD // 2)


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    """The daemon raises its own limit: it begins with the usual one, which is lower. This process
    needs a descriptor for each of the crowd."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, HARD), HARD))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, HARD))


def served(peer: Peer) -> bool:
    peer.send(endless("1", max_tokens=20))
    return isinstance(peer.until_terminal("1")[-1], Done)


def test_a_crowd_at_the_door(daemon: DaemonFacts) -> None:
    def descriptors() -> int:
        return sum(1 for _ in Path(f"/proc/{daemon.pid}/fd").iterdir())

    before = descriptors()
    resource.setrlimit(resource.RLIMIT_NOFILE, (HARD, HARD))
    with Peer(daemon.endpoints[0]) as known, ExitStack() as crowd:
        for _ in range(CROWD):
            stranger = crowd.enter_context(socket.socket(socket.AF_UNIX))
            stranger.connect(daemon.endpoints[0].removeprefix("ipc://"))
        assert served(known)
        with Peer(daemon.endpoints[0]) as newcomer:
            assert served(newcomer)
        # Silence is not tolerated for long, so the crowd is gone before it leaves.
        deadline = time.monotonic() + 20
        while descriptors() > before + 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert descriptors() <= before + 5
