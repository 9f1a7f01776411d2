"""Sessions: trees of messages that belong to a principal."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from glmd.chat import Message, ToolCall
from glmd.daemon.sessions.store import SessionStore
from glmd.errors import DaemonError, NotFound, SessionConflict

HELLO = Message("user", "你好")
HI = Message("assistant", "你好！")
CALL = Message("assistant", "I look.", tool_call=ToolCall("get_weather", {"city": "北京", "n": 2}))
RESULT = Message("observation", "dry", "get_weather")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SessionStore]:
    store = SessionStore(tmp_path / "data" / "sessions.db")
    yield store
    await store.close()


async def say(
    store: SessionStore,
    session: str,
    *messages: Message,
    parent: str | None = None,
    answers: tuple[Message, ...] = (HI,),
) -> list[str]:
    """A whole turn; the ids of its answers."""
    turn = await store.begin("me", session, parent, again=not messages)
    try:
        await turn.ask(messages)
        return await turn.answer([(answer, "stop") for answer in answers])
    finally:
        turn.release()


async def test_an_empty_session(store: SessionStore) -> None:
    made = await store.create("me", "plans")
    info, tree, leaf = await store.get("me", made.session)
    assert (info, tree, leaf) == (made, [], None)
    assert (made.title, made.messages, made.created) == ("plans", 0, made.updated)


async def test_a_turn_is_kept(store: SessionStore) -> None:
    session = (await store.create("me")).session
    (answer,) = await say(store, session, HELLO)
    info, tree, leaf = await store.get("me", session)
    assert [kept.content for kept in tree] == [HELLO, HI]
    assert [kept.parent for kept in tree] == [None, tree[0].message]
    assert [kept.finish_reason for kept in tree] == [None, "stop"]
    assert leaf == tree[1].message == answer
    assert info.messages == 2
    assert info.updated > info.created


async def test_tool_turns_come_back_as_they_were(store: SessionStore) -> None:
    session = (await store.create("me")).session
    await say(store, session, HELLO, answers=(CALL,))
    await say(store, session, RESULT)
    _, tree, leaf = await store.get("me", session)
    assert [kept.content for kept in tree] == [HELLO, CALL, RESULT, HI]
    assert await store.path("me", session, leaf or "") == tree


async def test_several_answers_are_siblings_and_the_first_goes_on(store: SessionStore) -> None:
    session = (await store.create("me")).session
    answers = [Message("assistant", str(i)) for i in range(3)]
    ids = await say(store, session, HELLO, answers=tuple(answers))
    _, tree, leaf = await store.get("me", session)
    assert {kept.parent for kept in tree[1:]} == {tree[0].message}
    assert leaf == ids[0]
    assert {kept.message: kept.content for kept in tree[1:]} == dict(zip(ids, answers, strict=True))


async def test_edit_regenerate_and_branch(store: SessionStore) -> None:
    session = (await store.create("me")).session
    (first,) = await say(store, session, HELLO)
    (second,) = await say(store, session, Message("user", "two"))
    (branch,) = await say(store, session, Message("user", "other"), parent=first)
    (again,) = await say(store, session, answers=(Message("assistant", "again"),))
    (root,) = await say(store, session, Message("user", "new start"), parent="root")

    async def texts(leaf: str) -> list[str]:
        return [kept.content.content for kept in await store.path("me", session, leaf)]

    assert await texts(second) == ["你好", "你好！", "two", "你好！"]
    assert await texts(branch) == ["你好", "你好！", "other", "你好！"]
    assert await texts(again) == ["你好", "你好！", "other", "again"]
    assert await texts(root) == ["new start", "你好！"]


async def test_the_history_of_a_turn(store: SessionStore) -> None:
    session = (await store.create("me")).session
    await say(store, session, HELLO)
    for parent, again, expected in [(None, False, [HELLO, HI]), (None, True, [HELLO])]:
        turn = await store.begin("me", session, parent, again=again)
        assert turn.history == expected
        turn.release()


async def test_one_turn_at_a_time_on_a_branch(store: SessionStore) -> None:
    session = (await store.create("me")).session
    (leaf,) = await say(store, session, HELLO)
    turn = await store.begin("me", session, None)
    for parent in (None, leaf):
        with pytest.raises(SessionConflict, match="Another turn runs on this branch"):
            await store.begin("me", session, parent)
    asked = await turn.ask([Message("user", "two")])
    for parent in (None, leaf, asked):
        with pytest.raises(SessionConflict):
            await store.begin("me", session, parent)
    (await store.begin("me", session, "root")).release()  # another branch
    await turn.answer([(HI, "stop")])
    turn.release()
    turn.release()
    for parent in (None, leaf, asked):
        (await store.begin("me", session, parent)).release()


async def test_of_many_turns_at_once_one_begins(store: SessionStore) -> None:
    session = (await store.create("me")).session
    begun = await asyncio.gather(
        *(store.begin("me", session, None) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(turn, SessionConflict) for turn in begun) == 7


async def test_a_turn_that_was_refused_leaves_nothing(store: SessionStore) -> None:
    session = (await store.create("me")).session
    turn = await store.begin("me", session, None)
    await turn.withdraw()
    await turn.ask([Message("system", "Be brief."), HELLO])
    await turn.withdraw()
    turn.release()
    assert (await store.get("me", session))[1:] == ([], None)


async def test_others_do_not_see_a_session(store: SessionStore) -> None:
    session = (await store.create("me")).session
    (leaf,) = await say(store, session, HELLO)
    for call in (
        store.get("you", session),
        store.path("you", session, leaf),
        store.rename("you", session, "mine"),
        store.delete("you", session),
        store.begin("you", session, None),
        store.recent("you", before=session),
    ):
        with pytest.raises(NotFound, match=rf"no session {session}\..*`glmd sessions list`"):
            await call
    assert await store.recent("you") == []
    assert len(await store.recent("me")) == 1


async def test_a_message_of_another_session_is_not_found(store: SessionStore) -> None:
    one, two = [(await store.create("me")).session for _ in range(2)]
    (leaf,) = await say(store, one, HELLO)
    for parent in (leaf, "nonsense"):
        with pytest.raises(NotFound, match=f"Session {two} has no message {parent}"):
            await store.begin("me", two, parent)


async def test_pages(store: SessionStore) -> None:
    made = [(await store.create("me", str(i))).session for i in range(5)]
    await say(store, made[1], HELLO)
    order = [made[1], made[4], made[3], made[2], made[0]]
    assert [info.session for info in await store.recent("me")] == order
    assert [info.session for info in await store.recent("me", limit=2)] == order[:2]
    page = await store.recent("me", limit=2, before=order[1])
    assert [info.session for info in page] == order[2:4]
    assert await store.recent("me", before=order[4]) == []


async def test_rename_and_delete(store: SessionStore) -> None:
    session = (await store.create("me", "old")).session
    await store.rename("me", session, "new")
    assert (await store.get("me", session))[0].title == "new"
    await say(store, session, HELLO)
    await store.delete("me", session)
    with pytest.raises(NotFound):
        await store.get("me", session)


async def test_an_answer_to_a_deleted_session_is_not_kept(store: SessionStore) -> None:
    session = (await store.create("me")).session
    turn = await store.begin("me", session, None)
    await turn.ask([HELLO])
    await store.delete("me", session)
    with pytest.raises(NotFound, match=f"Session {session} was deleted"):
        await turn.answer([(HI, "stop")])


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("  How do I\n use two cards? ", "How do I use two cards?"),
        ("字" * 61, "字" * 59 + "…"),
        ("字" * 60, "字" * 60),
        ("", ""),
    ],
)
async def test_the_title_is_the_first_question(
    store: SessionStore, question: str, title: str
) -> None:
    session = (await store.create("me")).session
    await say(store, session, Message("system", "Be brief."), Message("user", question))
    assert (await store.get("me", session))[0].title == title


async def test_a_given_title_stays(store: SessionStore) -> None:
    session = (await store.create("me", "plans")).session
    await say(store, session, HELLO)
    await say(store, session, Message("user", "more"))
    assert (await store.get("me", session))[0].title == "plans"


async def test_sessions_outlive_the_store(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = SessionStore(path)
    session = (await store.create("me")).session
    await say(store, session, HELLO)
    before = await store.get("me", session)
    await store.close()
    store = SessionStore(path)
    assert await store.get("me", session) == before
    await store.close()


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "sessions.db")
    session = (await store.create("me")).session
    turn = await store.begin("me", session, None)
    await store.close()
    with pytest.raises(DaemonError, match="The daemon is stopping"):
        await turn.answer([(HI, "stop")])


async def test_nobody_else_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "data" / "sessions.db"
    store = SessionStore(path)
    await store.create("me")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await store.close()


async def test_a_long_conversation(store: SessionStore) -> None:
    session = (await store.create("me")).session
    turns = [Message("user" if i % 2 == 0 else "assistant", str(i)) for i in range(1999)]
    await say(store, session, *turns)
    turn = await store.begin("me", session, None)
    assert len(turn.history) == 2000
    turn.release()
