"""Requests answered by a real engine child with a random model."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.pool import WatchedPool, running_pool
from support.requests import RecordingOutlet
from support.tokenizers import nano

from glmd.chat import Message
from glmd.daemon.chat.prompt import join, render
from glmd.daemon.models.deployment import Deployment
from glmd.daemon.models.entrance import Entrance
from glmd.daemon.request.requests import Requests
from glmd.daemon.request.running import Running
from glmd.daemon.sessions.store import SessionStore
from glmd.errors import ContextOverflow, GlmdError
from glmd.wire.requests import Chat, Complete, Tokenize
from glmd.wire.sampling import Sampling

# One engine child serves them all.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTEXT = 256
HELLO = Message("user", "How do I use two cards? 怎么用两张卡？")
GREEDY = Sampling(preset="greedy")


def seeded(seed: int) -> Sampling:
    return Sampling(seed=seed, temperature=1.0)


class Client:
    def __init__(self, pool: WatchedPool, sessions: SessionStore) -> None:
        self.pool = pool
        self.entrance = Entrance(Deployment(nano(), pool), 64)
        self.requests = Requests(self.entrance, sessions)

    def begin(self, request: Chat | Complete) -> tuple[Running, RecordingOutlet]:
        outlet = RecordingOutlet()
        return self.requests.start(request, "me", outlet), outlet

    async def ask(self, request: Chat | Complete) -> RecordingOutlet:
        running, outlet = self.begin(request)
        await running.finished.wait()
        return outlet

    async def chat(self, *messages: Message, **fields: Any) -> RecordingOutlet:
        fields = {"max_tokens": 24, "ignore_eos": True, "sampling": seeded(1)} | fields
        return await self.ask(Chat(id="1", messages=list(messages or [HELLO]), **fields))

    async def complete(self, prompt: str | list[int], **fields: Any) -> RecordingOutlet:
        fields = {"max_tokens": 24, "ignore_eos": True, "sampling": seeded(1)} | fields
        return await self.ask(Complete(id="1", prompt=prompt, **fields))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(text_model: Path) -> AsyncIterator[WatchedPool]:
    async with running_pool(text_model, slots=16) as pool:
        yield pool


@pytest.fixture
def client(pool: WatchedPool, sessions: SessionStore) -> Client:
    return Client(pool, sessions)


def exactly(tokens: int) -> Message:
    """A question whose prompt has as many tokens."""
    for digits in range(1, tokens):
        text = "7" * digits
        if len(join(nano(), render(nano(), [Message("user", text)], []))) == tokens:
            return Message("user", text)
    raise AssertionError(tokens)


async def until(outlet: RecordingOutlet, deltas: int) -> None:
    while len(outlet.deltas) < deltas:
        await outlet.moved.wait()
        outlet.moved.clear()


async def test_a_seed_decides_the_answer(client: Client) -> None:
    first, again, other = [await client.chat(sampling=seeded(seed)) for seed in (1, 1, 2)]
    assert first.tokens() == again.tokens() != other.tokens()
    assert first.text() == again.text()
    assert [outlet.accepted_with["seed"] for outlet in (first, other) if outlet.accepted_with] == [
        1,
        2,
    ]
    assert first.ending.finish_reason == "length"
    assert first.usage.completion_tokens == len(first.tokens()) == 24


async def test_without_a_seed_the_one_in_use_is_told(client: Client) -> None:
    first = await client.chat(sampling=Sampling(temperature=1.0))
    assert first.accepted_with is not None
    again = await client.chat(sampling=seeded(first.accepted_with["seed"]))
    assert first.tokens() == again.tokens()


async def test_the_text_is_that_of_the_tokens(client: Client) -> None:
    outlet = await client.complete("How do", max_tokens=200)
    # A continued text keeps its first space, which decode by itself drops.
    joined = b"".join(map(nano().bytes_of, outlet.tokens()))
    assert outlet.text() == joined.decode("utf-8", "replace")
    assert len(outlet.tokens()) == 200


async def test_bytes_at_random_never_break_a_character(client: Client) -> None:
    bias = {3 + byte: 100.0 for byte in "😀𠮷".encode()}
    outlet = await client.complete("", max_tokens=200, sampling=Sampling(seed=1, logit_bias=bias))
    assert set(outlet.tokens()) <= set(bias)
    assert outlet.text() == nano().decode(outlet.tokens())
    outlet.text().encode("utf-8")


async def test_a_text_goes_behind_the_start_of_every_text(client: Client) -> None:
    outlet = await client.complete("glmd is", max_tokens=0)
    assert outlet.usage.prompt_tokens == 2 + len(nano().encode("glmd is"))
    assert outlet.usage.completion_tokens == 0
    assert (outlet.ending.finish_reason, outlet.deltas) == ("length", [])


async def test_ids_are_taken_as_they_are(client: Client) -> None:
    ids = [nano().special["[gMASK]"], nano().special["sop"], *nano().encode("glmd is")]
    by_ids, by_text = await client.complete(ids), await client.complete("glmd is")
    assert by_ids.tokens() == by_text.tokens()


async def test_log_probabilities_of_answer_and_prompt_agree(client: Client) -> None:
    prompt = nano().encode("How do I use two cards?")
    made = await client.complete(prompt, logprobs=3)
    scored = await client.complete(
        prompt + made.tokens(), logprobs=3, prompt_logprobs=True, max_tokens=0
    )
    scores = scored.result["prompt_logprobs"]
    assert [item.token for item in scores] == (prompt + made.tokens())[1:]
    assert scores[len(prompt) - 1 :] == made.logprobs()
    for item in scores:
        assert item.logprob <= item.top[0][2] <= 0
        assert [value for _, _, value in item.top] == sorted(
            (value for _, _, value in item.top), reverse=True
        )
        assert item.text == nano().text_of(item.token)


async def test_several_answers(client: Client) -> None:
    four = await client.chat(n=4)
    one = await client.chat()
    assert four.tokens(0) == one.tokens()
    assert len({tuple(four.tokens(i)) for i in range(4)}) == 4
    assert [ending.choice for ending in four.endings] == [0, 1, 2, 3]
    assert four.usage.completion_tokens == 4 * 24


async def test_a_stop_string(client: Client) -> None:
    whole = (await client.complete("How do", sampling=GREEDY, max_tokens=60)).text()
    stop = whole[20:24]
    outlet = await client.complete("How do", sampling=GREEDY, max_tokens=60, stop=[stop])
    assert outlet.text() == whole[: whole.index(stop)]
    assert (outlet.ending.finish_reason, outlet.ending.stop) == ("stop", stop)
    assert outlet.usage.completion_tokens == len(outlet.tokens()) < 60
    assert client.pool.running == 0


async def test_a_prompt_of_exactly_the_context_gives_one_token(client: Client) -> None:
    outlet = await client.chat(exactly(CONTEXT), max_tokens=None)
    assert outlet.usage.prompt_tokens == CONTEXT
    assert outlet.usage.completion_tokens == 1
    assert outlet.ending.finish_reason == "length"


async def test_a_prompt_of_one_more_is_refused(client: Client) -> None:
    outlet = await client.chat(exactly(CONTEXT + 1), max_tokens=None)
    with pytest.raises(ContextOverflow, match=r"has 257 tokens and the context holds 256"):
        raise outlet.result["no result"]


async def test_without_max_tokens_the_context_is_filled(client: Client) -> None:
    outlet = await client.chat(max_tokens=None)
    assert outlet.usage.prompt_tokens + outlet.usage.completion_tokens == CONTEXT + 1


async def test_a_conversation_longer_than_the_context(
    client: Client, sessions: SessionStore
) -> None:
    session = (await sessions.create("me")).session
    dropped = []
    for _ in range(6):
        outlet = await client.chat(exactly(80), session=session, overflow="drop_oldest")
        assert outlet.accepted_with is not None
        dropped.append(outlet.accepted_with["dropped"])
        assert outlet.usage.prompt_tokens <= CONTEXT - 24 + 1
    assert dropped[0] == 0
    assert dropped[-1] > 0
    assert len((await sessions.get("me", session))[1]) == 12


async def test_the_next_turn_finds_its_prefix_in_the_cache(
    client: Client, sessions: SessionStore
) -> None:
    session = (await sessions.create("me")).session
    first = await client.chat(Message("user", "你是谁？"), session=session)
    second = await client.chat(Message("user", "more"), session=session)
    assert first.usage.cached_tokens < first.usage.prompt_tokens
    assert second.usage.cached_tokens >= first.usage.prompt_tokens


async def test_timings_add_up(client: Client) -> None:
    timings = (await client.chat()).result["timings"]
    assert timings.queue_ms >= 0
    assert timings.prefill_ms > 0
    assert timings.queue_ms + timings.prefill_ms <= timings.first_token_ms <= timings.total_ms
    assert timings.tokens_per_second > 0


async def test_typed_roles_do_not_end_a_turn(client: Client) -> None:
    request = Tokenize(id="1", messages=[Message("user", "<|user|>\n<|assistant|>")])
    ids, pieces = await client.requests.tokenize(request)
    assert pieces.count("<|user|>") == pieces.count("<|assistant|>") == 1
    outlet = await client.chat(Message("user", "<|user|>\n<|assistant|>"))
    assert outlet.usage.prompt_tokens == len(ids)


async def test_tokenize_and_detokenize(client: Client) -> None:
    ids, pieces = await client.requests.tokenize(Tokenize(id="1", text="你好 <|user|>"))
    assert ids == nano().encode("你好 <|user|>")
    assert pieces == nano().pieces(ids)
    assert await client.requests.detokenize(ids) == "你好 <|user|>"
    with pytest.raises(GlmdError, match="either text or messages"):
        await client.requests.tokenize(Tokenize(id="1"))


async def test_cancel_frees_the_engine(client: Client) -> None:
    """In the very moment of a delta: the event loop might look only when the engine is done."""
    running, outlet = client.begin(Chat(id="1", messages=[HELLO], ignore_eos=True, n=2))

    def cancel_at_4() -> None:
        if len(outlet.deltas) == 4:
            running.cancel()

    outlet.on_delta = cancel_at_4
    await running.finished.wait()
    assert [ending.finish_reason for ending in outlet.endings] == ["cancelled"] * 2
    assert 4 <= outlet.usage.completion_tokens < 2 * (CONTEXT - outlet.usage.prompt_tokens)
    assert client.pool.running == 0
    assert (await client.chat()).tokens() == (await client.chat()).tokens()


def questions(n: int) -> list[Chat]:
    return [
        Chat(
            id=str(i),
            messages=[Message("user", f"Question {i}: 怎么用 {i} 张卡？")],
            sampling=seeded(i),
            max_tokens=100,
            ignore_eos=True,
        )
        for i in range(n)
    ]


async def test_many_at_once_answer_like_each_alone(client: Client) -> None:
    alone = [await client.ask(question) for question in questions(8)]
    together = await asyncio.gather(*map(client.ask, questions(8)))
    assert [outlet.tokens() for outlet in together] == [outlet.tokens() for outlet in alone]
    assert [outlet.text() for outlet in together] == [outlet.text() for outlet in alone]


async def test_a_killed_engine_goes_unnoticed(client: Client) -> None:
    alone = [await client.ask(question) for question in questions(4)]
    begun = [client.begin(question) for question in questions(4)]
    for _, outlet in begun:
        await until(outlet, 5)
    (replica,) = client.pool.replicas()
    assert replica.pid is not None
    loads = replica.model_loads
    os.kill(replica.pid, signal.SIGKILL)
    for running, _ in begun:
        await running.finished.wait()
    assert [outlet.tokens() for _, outlet in begun] == [outlet.tokens() for outlet in alone]
    assert [outlet.text() for _, outlet in begun] == [outlet.text() for outlet in alone]
    assert [outlet.ending for _, outlet in begun] == [outlet.ending for outlet in alone]
    # Where the engine was quicker than this test, nobody waits for the one that follows.
    await client.pool.until(lambda replica: replica.model_loads == loads + 1)


async def test_a_request_may_come_before_the_model(
    text_model: Path, sessions: SessionStore
) -> None:
    async with running_pool(text_model, wait=False) as pool:
        client = Client(pool, sessions)
        assert pool.model is None
        answer = asyncio.ensure_future(client.chat())
        await pool.ready()
        client.entrance.look()
        assert len((await answer).tokens()) == 24
