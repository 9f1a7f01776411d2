"""Requests whose model says exactly what the test wants: calls, stop strings, broken characters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.requests import RecordingOutlet, ScriptedModel, ScriptedPool
from support.tokenizers import nano

from glmd.chat import Message, Tool, ToolCall
from glmd.daemon.chat.prompt import join, render
from glmd.daemon.request.requests import Requests
from glmd.daemon.request.running import Running
from glmd.daemon.sessions.store import SessionStore, Turn
from glmd.errors import Busy, Code, GlmdError, ModelError
from glmd.wire.replies import Text
from glmd.wire.requests import Chat, Complete

SPECIAL = nano().special
USER, OBSERVATION = SPECIAL["<|user|>"], SPECIAL["<|observation|>"]
HELLO = Message("user", "hello")


def said(text: str) -> list[int]:
    """A plain answer as the model writes it: its line of metadata, its content, the end."""
    return [*nano().encode("\n"), *nano().encode(text), USER]


class Client:
    """Sends requests to a pool with these scripts."""

    def __init__(self, sessions: SessionStore, *scripts: Sequence[int], **model: Any) -> None:
        self.pool = ScriptedPool(*scripts, model=ScriptedModel(**model))
        self.requests = Requests(nano(), self.pool, sessions)

    def begin(self, request: Chat | Complete) -> tuple[Running, RecordingOutlet]:
        outlet = RecordingOutlet()
        return self.requests.start(request, "me", outlet), outlet

    async def ask(self, request: Chat | Complete) -> RecordingOutlet:
        running, outlet = self.begin(request)
        await running.finished.wait()
        await self.pool.over()
        return outlet

    async def chat(self, *messages: Message, **fields: Any) -> RecordingOutlet:
        return await self.ask(Chat(id="1", messages=list(messages or [HELLO]), **fields))


Make = Callable[..., Client]


@pytest.fixture
async def make(sessions: SessionStore) -> AsyncIterator[Make]:
    """Makes clients; in the end nothing may play on, and no listener have raised anything."""
    clients: list[Client] = []

    def make(*scripts: Sequence[int], **model: Any) -> Client:
        clients.append(Client(sessions, *scripts, **model))
        return clients[-1]

    yield make
    for client in clients:
        client.pool.gate.set()
        await client.pool.over()


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


# -- cancel ------------------------------------------------------------------------------------


async def test_cancel_in_the_middle(make: Make, sessions: SessionStore) -> None:
    session = (await sessions.create("me")).session
    client = make(said("one two three four five"))
    running, outlet = client.begin(Chat(id="1", messages=[HELLO], session=session))
    while not outlet.text():
        await outlet.moved.wait()
        outlet.moved.clear()
    running.cancel()
    running.cancel()
    await running.finished.wait()
    running.cancel()
    assert outlet.ending.finish_reason == "cancelled"
    assert None in client.pool.tickets[0].cancelled
    _, tree, _ = await sessions.get("me", session)
    assert tree[1].content == Message("assistant", outlet.text())
    assert tree[1].finish_reason == "cancelled"
    assert outlet.ending.message == tree[1].message
    assert outlet.text()


async def test_cancel_before_a_token_keeps_the_question_alone(
    make: Make, sessions: SessionStore
) -> None:
    session = (await sessions.create("me")).session
    client = make(said("one"))
    client.pool.gate.clear()
    running, outlet = client.begin(Chat(id="1", messages=[HELLO], session=session, n=2))
    while outlet.accepted_with is None:
        await outlet.moved.wait()
        outlet.moved.clear()
    running.cancel()
    await running.finished.wait()
    assert [ending.finish_reason for ending in outlet.endings] == ["cancelled"] * 2
    _, tree, _ = await sessions.get("me", session)
    assert [kept.content for kept in tree] == [HELLO]


async def test_cancel_at_once(make: Make, sessions: SessionStore) -> None:
    session = (await sessions.create("me")).session
    client = make(said("one"))
    running, outlet = client.begin(Chat(id="1", messages=[HELLO], session=session))
    running.cancel()
    await running.finished.wait()
    assert outlet.ending.finish_reason == "cancelled"
    assert outlet.accepted_with is None
    assert client.pool.tickets == []
    assert (await sessions.get("me", session))[1] == []
    await client.chat(session=session)  # the branch is free again


@pytest.mark.parametrize(("owner", "step"), [(SessionStore, "begin"), (Turn, "ask")])
async def test_cancel_while_the_session_is_busy(
    make: Make,
    sessions: SessionStore,
    monkeypatch: pytest.MonkeyPatch,
    owner: type[Any],
    step: str,
) -> None:
    session = (await sessions.create("me")).session
    client = make(said("one"))
    original = getattr(owner, step)

    async def cancelled_meanwhile(*arguments: Any, **named: Any) -> Any:
        result = await original(*arguments, **named)
        running.cancel()
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, cancelled_meanwhile)
        running, outlet = client.begin(Chat(id="1", messages=[HELLO], session=session))
        await running.finished.wait()
    assert outlet.ending.finish_reason == "cancelled"
    assert outlet.accepted_with is None
    assert client.pool.tickets == []
    assert (await sessions.get("me", session))[1] == []
    assert (await client.chat(session=session)).text() == "one"


async def test_cancel_while_the_prompt_is_made(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make(said("one"))
    original = Running._prepare

    async def cancelled_meanwhile(*arguments: Any) -> Any:
        running.cancel()
        return await original(*arguments)

    monkeypatch.setattr(Running, "_prepare", cancelled_meanwhile)
    running, outlet = client.begin(Chat(id="1", messages=[HELLO]))
    await running.finished.wait()
    assert outlet.ending.finish_reason == "cancelled"
    assert outlet.accepted_with is None
    assert client.pool.tickets == []


async def test_cancel_while_the_model_loads(make: Make) -> None:
    client = make(said("one"))
    client.pool.model = None
    running, outlet = client.begin(Chat(id="1", messages=[HELLO]))
    await asyncio.sleep(0)
    running.cancel()
    await running.finished.wait()
    assert outlet.ending.finish_reason == "cancelled"


# -- what goes wrong ---------------------------------------------------------------------------


async def test_a_request_waits_for_the_model(make: Make) -> None:
    client = make(said("one"))
    model, client.pool.model = client.pool.model, None
    running, outlet = client.begin(Chat(id="1", messages=[HELLO]))
    await asyncio.sleep(0)
    client.pool.model = model
    client.pool.loaded.set()
    await running.finished.wait()
    assert outlet.text() == "one"


async def test_a_model_that_never_comes(make: Make) -> None:
    client = make()
    client.pool.model = None

    async def ready() -> None:
        raise ModelError("The model cannot be loaded.")

    client.pool.ready = ready  # type: ignore[method-assign]
    outlet = await client.chat()
    assert isinstance(outlet.error, ModelError)


async def test_a_refused_request_leaves_no_trace_in_its_session(
    make: Make, sessions: SessionStore
) -> None:
    session = (await sessions.create("me")).session
    client = make(said("one"))
    client.pool.refusal = Busy("Full.", retry_after_ms=100)
    outlet = await client.chat(session=session)
    assert outlet.error is client.pool.refusal
    assert (await sessions.get("me", session))[1:] == ([], None)
    client.pool.refusal = None
    assert (await client.chat(session=session)).text() == "one"


async def test_a_failure_in_the_engine(make: Make, sessions: SessionStore) -> None:
    session = (await sessions.create("me")).session
    client = make(said("one")[:2])
    outlet = await client.chat(session=session)
    assert isinstance(outlet.error, GlmdError)
    assert outlet.error.message == "the script is over"
    assert len((await sessions.get("me", session))[1]) == 1  # the question can be asked again
    client.pool.scripts = (said("one"),)
    assert (await client.ask(Chat(id="2", messages=[], session=session))).text() == "one"


async def test_a_fault_of_our_own_is_an_internal_error(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    client = make(said("one"))
    client.pool.refusal = ZeroDivisionError("a bug")
    outlet = await client.chat()
    assert outlet.error is not None
    assert outlet.error.code == Code.INTERNAL
    assert "ZeroDivisionError" in outlet.error.message
    assert "a bug" in caplog.text


async def test_an_outlet_that_fails_hurts_nobody(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(RecordingOutlet):
        def done(self, **facts: Any) -> None:
            raise OSError("no socket")

    client = make(said("one"))
    running = client.requests.start(Chat(id="7", messages=[HELLO]), "me", Broken())
    await running.finished.wait()
    assert "The end of request 7 could not be told" in caplog.text


@pytest.mark.parametrize(
    ("request_", "code", "sentence"),
    [
        (Chat(id="1", messages=[]), Code.INVALID_REQUEST, "has no messages"),
        (Chat(id="1", messages=[], session="x"), Code.NOT_FOUND, "no session x"),
        (
            Chat(id="1", messages=[HELLO], parent="x"),
            Code.INVALID_REQUEST,
            "parent names a message of a session",
        ),
        (
            Complete(id="1", prompt=[5, 2304]),
            Code.INVALID_REQUEST,
            r"token id 2304; the model's ids go from 0 to 2303",
        ),
        (Complete(id="1", prompt=[5] * 513), Code.CONTEXT_OVERFLOW, "has 513 tokens"),
    ],
)
async def test_requests_that_cannot_be_answered(
    make: Make, request_: Chat | Complete, code: Code, sentence: str
) -> None:
    outlet = await make().ask(request_)
    assert outlet.accepted_with is None
    with pytest.raises(GlmdError, match=sentence) as error:
        raise outlet.result["no result"]
    assert error.value.code == code


async def test_log_probabilities_of_a_model_without_logits(make: Make) -> None:
    client = make([USER], outputs=["token"])
    outlet = await client.chat(logprobs=3)
    assert outlet.error is not None
    assert outlet.error.code == Code.UNSUPPORTED


# -- sessions ----------------------------------------------------------------------------------


async def test_several_turns_in_a_session(make: Make, sessions: SessionStore) -> None:
    session = (await sessions.create("me")).session
    client = make(said("first"))
    first = await client.chat(session=session)
    client.pool.scripts = (said("second"),)
    second = await client.chat(Message("user", "more"), session=session)
    tree = (await sessions.get("me", session))[1]
    assert [kept.content.content for kept in tree] == ["hello", "first", "more", "second"]
    assert first.accepted_with is not None
    assert second.accepted_with is not None
    assert [first.accepted_with["message"], first.ending.message] == [
        kept.message for kept in tree[:2]
    ]
    assert second.accepted_with["session"] == session
    assert client.pool.tickets[1].job.affinity == session
    prompt = client.pool.tickets[1].job.prompt
    assert nano().decode(prompt).split() == ["hello", "first", "more"]


async def test_messages_are_counted_from_the_request(make: Make, sessions: SessionStore) -> None:
    session = (await sessions.create("me")).session
    client = make(said("first"))
    await client.chat(session=session)
    outlet = await client.chat(HELLO, Message("system", "late"), HELLO, session=session)
    assert outlet.error is not None
    assert outlet.error.message.startswith("messages[1] has the role system")


async def test_the_kv_cache_of_the_turn_before_is_a_prefix(
    make: Make, sessions: SessionStore
) -> None:
    """What the model wrote is rendered back into the ids it wrote."""
    session = (await sessions.create("me")).session
    client = make(said("How do I use two cards? 怎么用两张卡？"))
    outlet = await client.chat(session=session)
    await client.chat(Message("user", "more"), session=session)
    first, second = [ticket.job.prompt for ticket in client.pool.tickets]
    known = first + outlet.tokens()
    assert second[: len(known)] == known


async def test_another_answer_to_the_same_question(make: Make, sessions: SessionStore) -> None:
    session = (await sessions.create("me")).session
    client = make(said("first"))
    await client.chat(session=session)
    client.pool.scripts = (said("second"),)
    again = await client.ask(Chat(id="2", messages=[], session=session))
    tree = (await sessions.get("me", session))[1]
    assert [kept.content.content for kept in tree] == ["hello", "first", "second"]
    assert tree[1].parent == tree[2].parent == tree[0].message
    assert again.accepted_with is not None
    assert again.accepted_with["message"] == tree[0].message
    wrong = await client.ask(Chat(id="3", messages=[], session=session, parent=tree[2].message))
    assert wrong.error is not None
    assert "ends with a turn of the assistant" in wrong.error.message


async def test_two_turns_at_once(make: Make, sessions: SessionStore) -> None:
    session = (await sessions.create("me")).session
    client = make(said("one"))
    client.pool.gate.clear()
    running, outlet = client.begin(Chat(id="1", messages=[HELLO], session=session))
    while outlet.accepted_with is None:
        await outlet.moved.wait()
        outlet.moved.clear()
    _, second = client.begin(Chat(id="2", messages=[HELLO], session=session))
    await second.moved.wait()
    assert second.error is not None
    assert second.error.code == Code.SESSION_CONFLICT
    client.pool.gate.set()
    await running.finished.wait()
    assert (await client.chat(session=session)).text() == "one"


async def test_somebody_elses_session(make: Make, sessions: SessionStore) -> None:
    session = (await sessions.create("you")).session
    outlet = await make(said("one")).chat(session=session)
    assert outlet.error is not None
    assert outlet.error.code == Code.NOT_FOUND


async def test_an_answer_that_cannot_be_saved_is_still_an_answer(
    make: Make, sessions: SessionStore
) -> None:
    session = (await sessions.create("me")).session
    client = make(said("one"))
    client.pool.gate.clear()
    running, outlet = client.begin(Chat(id="1", messages=[HELLO], session=session))
    while outlet.accepted_with is None:
        await outlet.moved.wait()
        outlet.moved.clear()
    await sessions.delete("me", session)
    client.pool.gate.set()
    await running.finished.wait()
    assert outlet.text() == "one"
    assert outlet.ending.finish_reason == "stop"
    assert outlet.ending.message is None
    assert outlet.ending.unsaved == f"Session {session} was deleted."


async def test_a_disk_that_fills_up_while_the_model_answers(
    make: Make, sessions: SessionStore
) -> None:
    session = (await sessions.create("me")).session
    client = make(said("word " * 4000), context=16384)
    client.pool.gate.clear()
    running, outlet = client.begin(Chat(id="1", messages=[HELLO], session=session))
    while outlet.accepted_with is None:
        await outlet.moved.wait()
        outlet.moved.clear()
    await sessions._database.run(lambda db: db.execute("PRAGMA max_page_count = 1"))
    client.pool.gate.set()
    await running.finished.wait()
    assert len(outlet.text().split()) == 4000
    assert outlet.ending.message is None
    assert "the disk is full" in (outlet.ending.unsaved or "")
    await sessions._database.run(lambda db: db.execute("PRAGMA max_page_count = 100000"))
    again = await client.ask(Chat(id="2", messages=[], session=session))
    assert again.ending.message is not None


async def test_a_broken_database_does_not_touch_other_requests(make: Make, tmp_path: Path) -> None:
    (tmp_path / "sessions.db").write_bytes(b"This is no database. " * 200)
    client = make(said("one"))
    broken = await client.chat(session="x")
    assert broken.error is not None
    assert broken.error.code == Code.STORAGE_FAILED
    assert (await client.chat()).text() == "one"
