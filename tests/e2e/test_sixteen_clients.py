"""Sixteen clients at once get what each would get alone, also when their engine is killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.daemons import Homes, Launch
from support.engine_processes import engine_pid, frozen, kill_engine, until

import glmd

Answer = tuple[Any, ...]
OnTokens = Callable[[int], None]

SAMPLING: list[dict[str, Any]] = [
    {"preset": "greedy"},
    {"temperature": 1.0, "top_p": 0.95},
    {"repeat_penalty": 1.3, "repeat_last_n": -1, "min_p": 0.02, "temperature": 1.2},
    {"preset": "penalty_sample", "repeat_penalty": 1.1, "top_p": 0.9},
    {"top_k": 40, "xtc_probability": 0.3, "dry_multiplier": 0.8, "typical_p": 0.9},
]
EXTRAS: dict[int, dict[str, Any]] = {
    2: {"n": 2},
    5: {"logprobs": 3},
    7: {"logprobs": 0, "n": 2},
    8: {"prompt_logprobs": True},
    9: {"stop": ["a", "的"]},
    13: {"ignore_eos": False},
    14: {"detached": True},
    15: {"max_tokens": None},  # to the end of the context
}
SLOTS = 16 + 2


def ask(client: glmd.Client, number: int, on_tokens: OnTokens) -> Answer:
    """What client `number` asks, streamed to its end: everything it got that does not depend on
    the time. Odd ones chat, even ones complete; prompts have from 3 to about 700 tokens."""
    options = {
        "seed": number,
        "max_tokens": 40 + 6 * number,
        "ignore_eos": True,
        **SAMPLING[number % len(SAMPLING)],
        **EXTRAS.get(number, {}),
    }
    text = "How do I use two cards? 怎么用两张卡？😀 " * (number * number // 8) + "你好"
    session = client.sessions.new().session if number in {3, 15} else None
    if number % 2:
        stream = client.stream(text, session=session, **options)
    else:
        stream = client.stream_complete(text, **options)
    pieces: dict[int, str] = {}
    with stream:
        for delta in stream:
            pieces[delta.choice] = pieces.get(delta.choice, "") + delta.text
            on_tokens(len(delta.tokens))
        result = stream.result()
    assert pieces == {choice.index: choice.text for choice in result.choices if choice.text}
    if session is not None:
        kept = client.sessions.get(session).tree[-1].content.content
        assert kept == result.text
    return (
        [(c.text, c.token_ids, c.finish_reason, c.stop, c.logprobs) for c in result.choices],
        getattr(result, "prompt_logprobs", None),
        result.usage.prompt_tokens,
        result.usage.completion_tokens,
    )


def together(on_tokens: OnTokens) -> list[Answer]:
    """Each has a connection of its own."""
    clients = [glmd.Client(principal=f"client {number % 5}") for number in range(16)]
    try:
        with ThreadPoolExecutor(16) as threads:
            asked = [
                threads.submit(ask, client, number, on_tokens)
                for number, client in enumerate(clients)
            ]
            return [future.result() for future in asked]
    finally:
        for client in clients:
            client.close()


def nothing(tokens: int) -> None:
    pass


class Kills:
    """Counts the tokens all clients have read, and kills the engine of a replica at some counts."""

    def __init__(self, watcher: glmd.Client, at: Sequence[tuple[int, int]]) -> None:
        self._watcher = watcher
        self._at = list(at)  # (count, replica)
        self._lock = threading.Lock()
        self._read = 0

    def __call__(self, tokens: int) -> None:
        with self._lock:
            self._read += tokens
            if not self._at or self._read < self._at[0][0]:
                return
            _, replica = self._at.pop(0)
            kill_engine(self._watcher.status, replica)
            assert self._watcher.status().running > 0

    def all_done(self) -> bool:
        return not self._at


@pytest.fixture(scope="module")
def alone(model: Path) -> list[Answer]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        homes = Homes(monkeypatch.setenv)
        try:
            homes.start(model=str(model))
            with glmd.Client() as client:
                return [ask(client, number, nothing) for number in range(16)]
        finally:
            homes.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("replicas", [1, 2])
def test_undisturbed(model: Path, alone: list[Answer], launch: Launch, replicas: int) -> None:
    launch(model=str(model), slots=SLOTS, replicas=replicas)
    assert together(nothing) == alone
    with glmd.Client() as watcher:
        status = watcher.status()
    assert (status.model_loads, status.clients_served) == (replicas, 16)
    assert all(replica.requests_served > 0 for replica in status.replicas)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("replicas", "at"),
    [
        (1, [(1, 0)]),  # while the long prompts are still in prefill
        (1, [(400, 0)]),
        (1, [(100, 0), (400, 0)]),
        (2, [(100, 1), (400, 0)]),
    ],
    ids=["first token", "midway", "twice", "both replicas"],
)
def test_their_engine_is_killed(
    model: Path, alone: list[Answer], launch: Launch, replicas: int, at: list[tuple[int, int]]
) -> None:
    launch(model=str(model), slots=SLOTS, replicas=replicas)
    with glmd.Client() as watcher:
        kills = Kills(watcher, at)
        assert together(kills) == alone
        assert kills.all_done()
        until(watcher.status, lambda status: status.model_loads == replicas + len(at))


@pytest.mark.timeout(120)
def test_their_engine_is_killed_before_it_computed_anything(
    model: Path, alone: list[Answer], launch: Launch
) -> None:
    """Most of them are still in the queue."""
    launch(model=str(model), slots=5)
    with glmd.Client() as watcher, ThreadPoolExecutor(1) as thread:
        with frozen(engine_pid(watcher.status)):
            answers = thread.submit(together, nothing)
            until(watcher.status, lambda status: status.running + status.queued == 16)
            kill_engine(watcher.status)
        assert answers.result() == alone
        assert watcher.status().model_loads == 2
