"""A cancel may come at any moment: there is one last word, and a session that makes sense."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.requests import HELLO, Make, said

from glmd.chat import Message
from glmd.daemon.request.running import Running
from glmd.daemon.sessions.store import SessionStore, Turn
from glmd.wire.requests import Chat


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
