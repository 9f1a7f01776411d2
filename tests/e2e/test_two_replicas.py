"""Two replicas, and clients of both that vanish, do not read, or come back when both have died."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from support.client_process import ClientProcess
from support.daemons import Homes
from support.engine_processes import engine_pid, frozen, kill_engine, until
from support.peer import Peer, endless, tokens

from glmd.facts import DaemonFacts
from glmd.wire.replies import Delta, Done
from glmd.wire.requests import Attach, Complete
from glmd.wire.sampling import Sampling

BOTH = (0, 1)


@pytest.fixture(scope="module")
def two_replicas() -> Iterator[DaemonFacts]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        homes = Homes(monkeypatch.setenv)
        try:
            yield homes.start(replicas=2, slots=4)
        finally:
            homes.close()


@pytest.fixture
def watcher(two_replicas: DaemonFacts) -> Iterator[Peer]:
    with Peer(two_replicas.endpoints[0]) as peer:
        yield peer


def busy(watcher: Peer) -> list[int]:
    return [replica.slots_busy for replica in watcher.status().replicas]


def story(request_id: str, seed: int, **fields: object) -> Complete:
    return endless(request_id, max_tokens=300, sampling=Sampling(seed=seed), **fields)


def test_clients_killed_on_both(two_replicas: DaemonFacts, watcher: Peer) -> None:
    """Their engines are held until both have asked: one may start long after the other."""
    endpoint = two_replicas.endpoints[0]
    engines = [engine_pid(watcher.status, i) for i in BOTH]
    with (
        ClientProcess(endpoint, endless("1", n=3)) as one,
        ClientProcess(endpoint, endless("1", n=2)) as other,
    ):
        with frozen(engines[0]), frozen(engines[1]):
            until(lambda: sorted(busy(watcher)), lambda seen: seen == [2, 3])
        for client in (one, other):
            client.underway()
        with frozen(engines[0]), frozen(engines[1]):
            assert sorted(busy(watcher)) == [2, 3]
            one.signal(signal.SIGKILL)
            other.signal(signal.SIGKILL)
            until(watcher.status, lambda status: status.running == 0)
    assert busy(watcher) == [0, 0]


def test_nobody_reads_on_one_and_the_other_goes_on(
    two_replicas: DaemonFacts, watcher: Peer
) -> None:
    """Three without credit fill three slots of a replica each; who reads is served beside them."""
    endpoint = two_replicas.endpoints[0]
    watcher.send(story("alone", 4, credit=65536))
    alone = tokens(watcher.until_terminal("alone"))
    with Peer(endpoint) as silent:
        silent.send(*(endless(f"s{i}", n=3, credit=0) for i in BOTH))
        until(lambda: busy(watcher), lambda seen: seen == [3, 3])
        watcher.send(*(story(f"w{i}", 4, credit=65536) for i in BOTH))
        ends = 0
        given: dict[str, list[int]] = {"w0": [], "w1": []}
        while ends < 2:
            reply = watcher.next()
            ends += isinstance(reply, Done)
            given[reply.id] += tokens([reply])
        assert given == {"w0": alone, "w1": alone}
    until(lambda: busy(watcher), lambda seen: seen == [0, 0])


def test_taken_up_again_while_both_engines_die(two_replicas: DaemonFacts, watcher: Peer) -> None:
    """Their clients are killed, then their engines; another client reads each from its start and
    from behind the first delta, which the first client had read, and it is the same."""
    endpoint = two_replicas.endpoints[0]
    alone = []
    for i in BOTH:
        watcher.send(story(f"a{i}", i, credit=65536))
        alone.append(tokens(watcher.until_terminal(f"a{i}")))
    loads = watcher.status().model_loads
    clients = [
        ClientProcess(endpoint, story(f"kept{i}", i, detached=True, credit=20)) for i in BOTH
    ]
    for client in clients:
        client.underway()
        client.signal(signal.SIGKILL)
    until(watcher.status, lambda status: status.clients == 1)
    for client in clients:
        client.__exit__(None, None, None)
    for i in BOTH:
        kill_engine(watcher.status, i)
    for i in BOTH:
        watcher.send(Attach(id=f"start{i}", target=f"kept{i}", credit=65536))
        told = watcher.until_terminal(f"start{i}")
        assert tokens(told) == alone[i]
        first = next(reply for reply in told if isinstance(reply, Delta))
        watcher.send(Attach(id=f"on{i}", target=f"kept{i}", from_seq=1, credit=65536))
        rest = tokens(watcher.until_terminal(f"on{i}"))
        assert [*tokens([first]), *rest] == alone[i]
        assert rest
    until(watcher.status, lambda status: status.state == "ready")
    assert watcher.status().model_loads == loads + 2
