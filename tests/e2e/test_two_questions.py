"""`glmd start && (glmd ask 你好 & glmd ask "How do I use two cards?" & wait)`, word by word.

That both stream at once is not left to luck: the engine is held until both questions are with it,
and then the daemon's own figures are the evidence, and the order in which the pieces come.
"""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psutil
import pytest
from support.daemons import Homes
from support.engine_processes import engine_pid, frozen, until
from support.peer import Peer, question
from support.shell import shell

import glmd
from glmd.wire.replies import Delta, Done, Failure
from glmd.wire.requests import Chat
from glmd.wire.sampling import Sampling

QUESTIONS = ["你好", "How do I use two cards?"]
SEED = 4  # with it either answer goes on for 79 pieces or more; with others it may soon be silent
BOTH = '(glmd ask 你好 --json & glmd ask "How do I use two cards?" --json & wait)'


def test_both_are_streamed_at_once_from_one_engine_process(homes: Homes) -> None:
    started = shell("glmd start --threads 1")
    assert (started.returncode, started.stderr) == (0, ""), started
    with glmd.Client() as watcher, ThreadPoolExecutor(1) as thread:
        engine = engine_pid(watcher.status)
        with frozen(engine):
            asked = thread.submit(shell, BOTH)
            held = until(watcher.status, lambda status: status.running == 2)
        assert [(one.pid, one.slots_busy) for one in held.replicas] == [(engine, 2)]
        assert held.requests_served == 0  # neither had ended when both had begun
        both = asked.result()
    assert (both.returncode, both.stderr) == (0, ""), both
    decoder, rest, answers = json.JSONDecoder(), both.stdout.strip(), []
    while rest:
        answer, end = decoder.raw_decode(rest)
        answers.append(answer)
        rest = rest[end:].strip()
    assert len(answers) == 2
    assert all(answer["text"] and answer["usage"]["completion_tokens"] for answer in answers)

    status = json.loads(shell("glmd status --json").stdout)
    assert (status["model_loads"], status["clients_served"]) == (1, 2)
    assert status["requests_served"] == 2
    engines = [
        child
        for child in psutil.Process(status["pid"]).children(recursive=True)
        if "glmd.daemon.engine" in child.cmdline()
    ]
    assert [child.pid for child in engines] == [engine]
    assert shell("glmd stop").returncode == 0
    homes.check_nothing_left()


@pytest.mark.parametrize("replicas", [1, 2])
def test_pieces_of_both_come_in_turns(homes: Homes, replicas: int) -> None:
    """One connection keeps the order in which the daemon sent: each answer begins before the other
    has ended."""
    order: list[str] = []
    with Peer(homes.start(replicas=replicas).endpoints[0]) as peer:
        with ExitStack() as held:
            for index in range(replicas):
                held.enter_context(frozen(engine_pid(peer.status, index)))
            peer.send(*(asked(number) for number in range(2)))
            until(peer.status, lambda status: status.running == 2)
        ends = 0
        while ends < 2:
            reply = peer.next()
            assert not isinstance(reply, Failure), reply
            ends += isinstance(reply, Done)
            order += [reply.id] if isinstance(reply, Delta) else []
    assert len(order) > 100
    turns = sum(a != b for a, b in itertools.pairwise(order))
    # One engine gives a piece of each in a step; how far one of two gets ahead is the machine's.
    assert turns >= (20 if replicas == 1 else 2), f"{turns} turns among {len(order)} pieces"


def asked(number: int) -> Chat:
    return question(
        str(number),
        QUESTIONS[number],
        ignore_eos=True,
        max_tokens=300,
        sampling=Sampling(seed=SEED),
        credit=1000,
    )
