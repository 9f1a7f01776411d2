"""Answers that say exactly what the test wants: calls, stop strings, broken characters."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from support.requests import HELLO, Make, said
from support.tokenizers import nano

from glmd.chat import Message, Tool, ToolCall
from glmd.daemon.chat.prompt import join, render
from glmd.daemon.request.logprobs import token_logprob
from glmd.daemon.sessions.store import SessionStore
from glmd.errors import Code
from glmd.wire.replies import Text, TokenLogprob
from glmd.wire.requests import Complete

SPECIAL = nano().special
USER, OBSERVATION = SPECIAL["<|user|>"], SPECIAL["<|observation|>"]


async def test_a_plain_answer(make: Make) -> None:
    client = make(said("two cards"))
    outlet = await client.chat()
    assert outlet.text() == "two cards"
    assert outlet.tokens() == said("two cards")
    assert outlet.ending.finish_reason == "stop"
    assert outlet.usage.completion_tokens == len(said("two cards"))
    assert outlet.accepted_with is not None
    assert outlet.accepted_with["prompt_tokens"] == outlet.usage.prompt_tokens
    assert client.pool.tickets[0].cancelled == []
    assert client.pool.tickets[0].job.stop_ids == list(nano().stop_ids)


async def test_a_tool_call(make: Make) -> None:
    script = [
        *nano().encode("\nI look."),
        SPECIAL["<|assistant|>"],
        *nano().encode("get_weather\n"),
        *nano().encode("```python\ntool_call(city='北京')\n```"),
        OBSERVATION,
    ]
    outlet = await make(script).chat(tools=[Tool("get_weather")])
    assert outlet.text() == "I look."
    assert outlet.calls() == [ToolCall("get_weather", {"city": "北京"})]
    assert outlet.ending.finish_reason == "tool_call"
    assert outlet.tokens() == script


async def test_tool_syntax_without_tools_is_text(make: Make) -> None:
    raw = "get_weather\n```python\ntool_call(city='北京')\n```"
    outlet = await make([*nano().encode(raw), OBSERVATION]).chat()
    assert outlet.text() == raw
    assert outlet.ending.finish_reason == "stop"


async def test_a_tool_round_in_a_session(make: Make, sessions: SessionStore) -> None:
    session = (await sessions.create("me")).session
    call = [*nano().encode("now\n```python\ntool_call()\n```"), OBSERVATION]
    client = make(call)
    asked = await client.chat(tools=[Tool("now")], session=session)
    assert asked.ending.finish_reason == "tool_call"
    client.pool.scripts = (said("noon"),)
    told = await client.chat(Message("observation", "12:00"), tools=[Tool("now")], session=session)
    assert told.text() == "noon"
    _, tree, leaf = await sessions.get("me", session)
    assert [kept.content for kept in tree] == [
        HELLO,
        Message("assistant", "", tool_call=ToolCall("now", {})),
        Message("observation", "12:00"),
        Message("assistant", "noon"),
    ]
    assert [kept.finish_reason for kept in tree] == [None, "tool_call", None, "stop"]
    assert leaf == told.ending.message
    prompt = nano().decode(client.pool.tickets[1].job.prompt)
    assert "tool_call()" in prompt


async def test_a_stop_string_ends_the_choice_in_the_engine(make: Make) -> None:
    client = make(said("one, two, three"))
    outlet = await client.chat(stop=["o, thr"])
    assert outlet.text() == "one, tw"
    assert (outlet.ending.finish_reason, outlet.ending.stop) == ("stop", "o, thr")
    assert client.pool.tickets[0].cancelled == [0]


async def test_choices_end_each_in_its_own_way(make: Make) -> None:
    client = make(
        said("one"),
        said("two three four"),
        said("five six seven eight nine ten eleven twelve thirteen fourteen"),
    )
    outlet = await client.chat(n=3, stop=["three"], max_tokens=16)
    assert [ending.finish_reason for ending in outlet.endings] == ["stop", "stop", "length"]
    assert [ending.stop for ending in outlet.endings] == [None, "three", None]
    assert [outlet.text(i) for i in range(2)] == ["one", "two"]
    assert len(outlet.tokens(2)) == 16
    assert outlet.usage.completion_tokens == sum(len(outlet.tokens(i)) for i in range(3))
    assert client.pool.tickets[0].cancelled == [1]


async def test_an_emoji_stream(make: Make) -> None:
    outlet = await make(said("🫠𠮷野🇨🇳")).chat()
    assert outlet.text() == "🫠𠮷野🇨🇳"
    for _, delta in outlet.deltas:
        assert isinstance(delta, Text)
        assert "\ufffd" not in delta.text


async def test_an_unfinished_character_is_said_once(make: Make) -> None:
    outlet = await make(said("ab🫠")[:-2]).chat(max_tokens=len(said("ab🫠")) - 2)
    assert outlet.text() == "ab\ufffd"
    assert outlet.ending.finish_reason == "length"


async def test_log_probabilities(make: Make) -> None:
    outlet = await make(said("two")).chat(logprobs=1)
    assert [item.token for item in outlet.logprobs()] == outlet.tokens()
    assert outlet.logprobs()[-1].text == "<|user|>"


@pytest.mark.parametrize(
    ("prompt", "text"),
    [("two", " cards"), ("", "cards"), ([5, 6], " cards"), ([SPECIAL["sop"]], "cards")],
)
async def test_a_continued_text_keeps_its_space(
    make: Make, prompt: str | list[int], text: str
) -> None:
    client = make([*nano().encode("cards"), USER])
    assert (await client.ask(Complete(id="1", prompt=prompt))).text() == text


async def test_ignore_eos(make: Make) -> None:
    client = make([*said("one"), *nano().encode("two")])
    outlet = await client.chat(ignore_eos=True, max_tokens=len(client.pool.scripts[0]))
    assert outlet.text() == "one two"
    assert client.pool.tickets[0].job.stop_ids == []


@pytest.mark.parametrize(
    ("asked", "room"), [(None, 512), (7, 7), (10_000, 512)], ids=["open", "few", "many"]
)
async def test_the_rest_of_the_context(make: Make, asked: int | None, room: int) -> None:
    client = make([USER])
    await client.chat(max_tokens=asked)
    job = client.pool.tickets[0].job
    assert job.max_tokens == min(room, 512 - len(job.prompt) + 1)


async def test_dropped_turns_are_counted(make: Make) -> None:
    talk = [Message("user", "word " * 40), Message("assistant", "word " * 40), HELLO]
    client = make([USER], context=64)
    refused = await client.chat(*talk)
    assert refused.error is not None
    assert refused.error.code == Code.CONTEXT_OVERFLOW
    outlet = await client.chat(*talk, overflow="drop_oldest")
    assert outlet.accepted_with is not None
    assert outlet.accepted_with["dropped"] == 2


async def test_a_short_answer_needs_little_room(make: Make) -> None:
    talk = [Message("user", "word " * 20), Message("assistant", "word " * 20), HELLO]
    size = len(join(nano(), render(nano(), talk, [])))
    client = make([USER], context=size)
    for max_tokens, dropped in [(1, 0), (2, 2), (None, 2)]:
        outlet = await client.chat(*talk, overflow="drop_oldest", max_tokens=max_tokens)
        assert outlet.accepted_with is not None
        assert outlet.accepted_with["dropped"] == dropped


async def test_nothing_in_the_session_is_dropped(make: Make, sessions: SessionStore) -> None:
    session = (await sessions.create("me")).session
    client = make(said("word " * 40), context=96)
    long = Message("user", "word " * 40)
    for _ in range(3):
        await client.chat(long, session=session, overflow="drop_oldest")
    _, tree, leaf = await sessions.get("me", session)
    assert len(tree) == 6
    assert len(await sessions.path("me", session, leaf or "")) == 6


async def test_others_are_served_while_the_scores_of_a_long_prompt_are_made(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()

    def noted(*arguments: Any) -> TokenLogprob:
        threads.add(threading.get_ident())
        return token_logprob(*arguments)

    monkeypatch.setattr("glmd.daemon.request.generation.token_logprob", noted)
    ids = [SPECIAL["[gMASK]"], SPECIAL["sop"], *nano().encode("two cards " * 20)]
    outlet = await make([USER]).ask(Complete(id="1", prompt=ids, logprobs=1, prompt_logprobs=True))
    assert [score.token for score in outlet.result["prompt_logprobs"]] == ids[1:]
    assert threads.isdisjoint({threading.get_ident()})
    assert threads


async def test_an_id_behind_the_tokenizers_last_is_in_the_tokens_and_not_in_the_text(
    make: Make,
) -> None:
    script = said("two cards")
    script.insert(-2, nano().vocab)
    outlet = await make(script).chat(logprobs=1)
    assert outlet.text() == "two cards"
    assert outlet.tokens() == script
    assert outlet.logprobs()[-3].text == "<unused>"
