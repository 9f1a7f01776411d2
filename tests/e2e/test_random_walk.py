"""Clients do whatever they may, in a random but repeatable order, while engines are killed and held
up. Every message must be allowed by the protocol, and every answer right: P1 to P4 in one place.

The daemon's own timing is not repeatable, and need not be: what is checked holds for any.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.daemons import Homes, Launch
from support.engine_processes import frozen, until
from support.peer import Peer
from support.referee import Told, Watched

from glmd.chat import Message
from glmd.wire.replies import Done, Failure
from glmd.wire.requests import Attach, Chat, Complete
from glmd.wire.sampling import Sampling

OPERATIONS = 600
KINDS = 8
SLOTS, QUEUE = 6, 12
TEXT = "What is glmd? 它是什么？"
# How a request may end here other than with `done`; the last where the machine is very busy.
EXCUSES = {"busy", "taken_over", "slow_client"}


def request(kind: int, request_id: str, **fields: Any) -> Chat | Complete:
    """Chats and completions with prefixes in common, of one or two answers."""
    common = {
        "id": request_id,
        "sampling": Sampling(seed=kind, temperature=1.0),
        "ignore_eos": True,
        "max_tokens": 10 + 12 * kind,
        "n": 1 + (kind % 4 == 3),
        **fields,
    }
    text = TEXT * (1 + 3 * (kind // 2))
    if kind % 2:
        return Chat(messages=[Message("user", text)], **common)
    return Complete(prompt=text, **common)


@pytest.fixture(scope="module")
def right(model: Path) -> dict[int, list[list[int]]]:
    """The tokens of every choice, each kind alone."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        homes = Homes(monkeypatch.setenv)
        try:
            client = Watched(homes.start(model=str(model)).endpoints[0], "alone")
            tokens = {}
            for kind in range(KINDS):
                told = client.open(request(kind, f"k{kind}", credit=65536))
                while client.waiting:
                    client.wait()
                tokens[kind] = [told.tokens(choice) for choice in range(told.request.n)]
            client.close()
            return tokens
        finally:
            homes.close()


class Walk:
    """One run. `done`: how often each thing was done."""

    def __init__(self, endpoint: str, seed: int, replicas: int) -> None:
        self._endpoint = endpoint
        self._rng = random.Random(seed)
        self._watcher = Peer(endpoint)
        self._clients: list[Watched] = []
        self._ids = 0
        self._kinds: list[tuple[int, Told]] = []  # everything that was ever asked
        self._detached: list[tuple[str, str, Told]] = []  # principal, id, what it said
        self._kills = [2] * replicas  # that each replica survives within a minute
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        operations: list[tuple[int, Callable[[], bool]]] = [
            (30, self._submit),
            (10, self._cancel),
            (6, self._regret),
            (25, self._grant),
            (20, self._read),
            (20, self._read_to_the_end),
            (6, self._connect),
            (2, self._leave),
            (8, self._attach),
            (6, self._status),
            (1, self._kill),
            (1, self._hold_up),
        ]
        weights = [weight for weight, _ in operations]
        while self.done.total() < OPERATIONS:
            ((_, operation),) = self._rng.choices(operations, weights)
            if operation():
                self.done[operation.__name__] += 1
        self._finish()

    # -- operations: whether there was anything to do ----------------------------------------------

    def _connect(self) -> bool:
        if len(self._clients) >= 6:
            return False
        self._clients.append(Watched(self._endpoint, self._rng.choice("abc")))
        return True

    def _submit(self) -> bool:
        client = self._client()
        if client is None or len(client.readings) >= 6:
            return False
        kind, detached = self._rng.randrange(KINDS), self._rng.random() < 0.3
        asked = request(
            kind, self._id(), detached=detached, credit=self._rng.choice([0, 1, 5, 30, 65536])
        )
        told = client.open(asked)
        self._kinds.append((kind, told))
        if detached:
            self._detached.append((client.principal, asked.id, told))
        return True

    def _cancel(self) -> bool:
        client, target = self._reading()
        if client is None:
            return False
        client.cancel(self._id(), target)
        return True

    def _regret(self) -> bool:
        """Ask, and cancel it at once: no engine has answered by then, however quick it is."""
        if not self._submit():
            return False
        asked = self._kinds[-1][1].request.id
        client = next(client for client in self._clients if asked in client.readings)
        client.cancel(self._id(), asked)
        return True

    def _grant(self) -> bool:
        client, target = self._reading()
        if client is None:
            return False
        client.grant(target, self._rng.choice([1, 10, 100]))
        return True

    def _read(self) -> bool:
        client = self._client()
        return client is not None and client.read(self._rng.choice([1, 10, 1000])) > 0

    def _read_to_the_end(self) -> bool:
        client, target = self._reading()
        if client is None:
            return False
        client.grant(target, 65536)
        while target in client.readings:
            client.wait()
        return True

    def _status(self) -> bool:
        client = self._client()
        if client is None:
            return False
        client.ask_status(self._id())
        return True

    def _leave(self) -> bool:
        client = self._client()
        if client is None:
            return False
        client.close()
        self._clients.remove(client)
        return True

    def _attach(self) -> bool:
        client = self._client()
        mine = [entry for entry in self._detached if client and entry[0] == client.principal]
        mine = [entry for entry in mine if entry[2].given]
        if client is None or not mine:
            return False
        _, target, told = self._rng.choice(mine)
        have = next(n for n in range(len(told.given) + 1) if n not in told.given)
        asked = Attach(
            id=self._id(),
            target=target,
            from_seq=self._rng.randint(0, have),
            credit=self._rng.choice([0, 5, 65536]),
        )
        client.attach(asked, told)
        return True

    def _kill(self) -> bool:
        replica = self._rng.randrange(len(self._kills))
        status = self._watcher.status().replicas[replica]
        if not self._kills[replica] or status.state != "ready" or not status.pid:
            return False
        self._kills[replica] -= 1
        with suppress(ProcessLookupError):  # it was ending already
            os.kill(status.pid, signal.SIGKILL)
        return True

    def _hold_up(self) -> bool:
        """Stop an engine for as long as it takes to do a few other things."""
        pid = self._rng.choice(self._watcher.status().replicas).pid
        if pid is None:
            return False
        with frozen(pid):
            for operation in (self._submit, self._cancel, self._grant, self._read, self._status):
                operation()
        return True

    # -- the end ---------------------------------------------------------------------------------

    def _finish(self) -> None:
        """All who are left read what is theirs; then nothing runs."""
        for client in self._clients:
            for target in list(client.readings):
                client.grant(target, 65536)
        for client in self._clients:
            while client.waiting:
                client.wait()
        # Detached requests may go on without a reader, to their end.
        status = until(
            self._watcher.status,
            lambda told: told.running + told.queued == 0 and told.state == "ready",
        )
        assert [one.slots_busy for one in status.replicas] == [0] * len(self._kills)
        for client in self._clients:
            client.read()  # what came after a last word, which would be a fault
            client.close()
        self._watcher.close()

    def check(self, right: dict[int, list[list[int]]]) -> Counter[str]:
        """Every answer against the right one; how many ended in which way."""
        ways: Counter[str] = Counter()
        for kind, told in self._kinds:
            for choice, tokens in enumerate(right[kind]):
                given = told.tokens(choice)
                assert given == tokens[: len(given)], (kind, choice)
                # A cancel drops what waited for credit, also when the answer was complete.
                if "length" in map(_way, told.ends) and not told.cancelled:
                    assert given == tokens, (kind, choice)
            for way in map(_way, told.ends):
                assert way in {"length", *EXCUSES} or (way == "cancelled" and told.cancelled), way
                ways[way] += 1
            ways["gone"] += not told.ends
        return ways

    # -- helpers ---------------------------------------------------------------------------------

    def _client(self) -> Watched | None:
        return self._rng.choice(self._clients) if self._clients else None

    def _reading(self) -> tuple[Watched | None, str]:
        client = self._client()
        if client is None or not client.readings:
            return None, ""
        return client, self._rng.choice(list(client.readings))

    def _id(self) -> str:
        self._ids += 1
        return f"r{self._ids}"


def _way(end: Done | Failure) -> str:
    if isinstance(end, Failure):
        return end.code
    reasons = {ending.finish_reason for ending in end.endings}
    return "cancelled" if "cancelled" in reasons else reasons.pop()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("seed", "replicas"), [(1, 1), (2, 1), (3, 2)])
def test_whatever_clients_do(
    model: Path,
    right: dict[int, list[list[int]]],
    launch: Launch,
    seed: int,
    replicas: int,
    record_property: Callable[[str, object], None],
) -> None:
    facts = launch(model=str(model), slots=SLOTS // replicas, replicas=replicas, max_queue=QUEUE)
    walk = Walk(facts.endpoints[0], seed, replicas)
    walk.run()
    ways = walk.check(right)
    record_property("operations", dict(walk.done))
    record_property("endings", dict(ways))
    print(dict(walk.done), dict(ways))
    assert ways["length"] > 20
    assert ways["cancelled"] > 5
