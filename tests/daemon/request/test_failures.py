"""What goes wrong is told once, to the request it belongs to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.requests import HELLO, Make, RecordingOutlet, said
from support.tokenizers import nano

from glmd.daemon.sessions.store import SessionStore
from glmd.errors import Busy, Code, GlmdError, ModelError
from glmd.wire.requests import Chat, Complete

USER = nano().special["<|user|>"]


async def test_a_request_waits_for_the_model(make: Make) -> None:
    client = make(said("one"))
    model, client.pool.model = client.pool.model, None
    running, outlet = client.begin(Chat(id="1", messages=[HELLO]))
    await asyncio.sleep(0)
    client.pool.model = model
    client.entrance.look()
    await running.finished.wait()
    assert outlet.text() == "one"


async def test_a_model_that_never_comes(make: Make) -> None:
    client = make()
    client.pool.model = None
    client.pool.broken = ModelError("The model cannot be loaded.")
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


async def test_what_was_said_before_a_failure_is_kept(make: Make, sessions: SessionStore) -> None:
    session = (await sessions.create("me")).session
    client = make(said("How do I use two cards?")[:-6])
    outlet = await client.chat(session=session)
    assert outlet.error is not None
    question, answer = (await sessions.get("me", session))[1]
    assert outlet.text()
    assert answer.content.content == outlet.text()
    assert answer.finish_reason == "cancelled"
    client.pool.scripts = (said("one"),)
    again = await client.ask(Chat(id="2", messages=[], session=session))
    assert again.text() == "one"
    assert again.accepted_with is not None
    assert again.accepted_with["message"] == question.message


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
