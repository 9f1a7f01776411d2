"""The core never blocks: whatever goes on, the next message is looked at soon.

A status request is answered on the event loop itself, so its round trip is the loop's lag and what
the machine adds. The bounds are loose, because a busy machine adds a lot: on an idle one the median
is below a millisecond.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import msgpack
import pytest
from support.peer import Peer, endless, question

from glmd.facts import DaemonFacts
from glmd.wire.codec import MAX_REQUEST
from glmd.wire.replies import Accepted, Done, Failure
from glmd.wire.requests import SessionNew, Tokenize

MEDIAN, LONGEST = 0.25, 10.0  # seconds
LOOKS = 100


def stream(endpoint: str, ready: threading.Barrier) -> None:
    with Peer(endpoint) as peer:
        peer.send(*(endless(str(n), max_tokens=100, n=2, credit=65536) for n in range(4)))
        peer.expect(Accepted)
        ready.wait()
        ended = 0
        while ended < 4:
            ended += isinstance(peer.next(), Done | Failure)


def work(endpoint: str, ready: threading.Barrier) -> None:
    """Long texts, long messages that are none, and sessions."""
    text = "the quick 棕色的狐狸 " * 20_000
    empties = msgpack.packb({"op": "status", "id": "1", "junk": [[]] * 100_000})
    noise = random.Random(1).randbytes(MAX_REQUEST)
    with Peer(endpoint) as peer:
        ready.wait()
        for number in range(3):
            peer.send(Tokenize(id=f"t{number}", text=text), SessionNew(id=f"n{number}"))
            peer.send(question(f"q{number}", text))
            peer.send_raw(empties)
            peer.send_raw(noise)
        for _ in range(15):
            peer.next()


@pytest.mark.timeout(120)
def test_status_is_answered_under_load(
    shared_daemon: DaemonFacts, record_property: Callable[[str, object], None]
) -> None:
    endpoint = shared_daemon.endpoints[0]
    ready = threading.Barrier(6)
    threads = [threading.Thread(target=stream, args=(endpoint, ready)) for _ in range(4)]
    threads.append(threading.Thread(target=work, args=(endpoint, ready)))
    with Peer(endpoint) as watcher:
        for thread in threads:
            thread.start()
        ready.wait()
        trips = []
        for _ in range(LOOKS):
            began = time.monotonic()
            watcher.status()
            trips.append(time.monotonic() - began)
        for thread in threads:
            thread.join()
    trips.sort()
    median, p99, longest = trips[LOOKS // 2], trips[LOOKS * 99 // 100], trips[-1]
    record_property("status_ms", [round(1000 * t, 1) for t in (median, p99, longest)])
    print(f"status under load, in s: median {median:.4f}, p99 {p99:.4f}, longest {longest:.4f}")
    assert median < MEDIAN
    assert longest < LONGEST
