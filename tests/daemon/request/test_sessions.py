"""Turns of a session: what is kept, what is refused, what the model is shown."""

from __future__ import annotations

from pathlib import Path

from support.requests import HELLO, Make, said
from support.tokenizers import nano

from glmd.chat import Message
from glmd.daemon.sessions.store import SessionStore
from glmd.errors import Code
from glmd.wire.requests import Chat


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
