"""Bytes and messages."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmd.chat import ToolCall
from glmd.errors import Code
from glmd.wire import codec
from glmd.wire.codec import Undecodable, decode_reply, decode_request, encode
from glmd.wire.replies import Call, Delta, Event, Text
from glmd.wire.requests import Chat, Complete, Status


def refused(message: Any) -> Undecodable:
    payload = message if isinstance(message, bytes) else msgpack.packb(message)
    with pytest.raises(Undecodable) as caught:
        decode_request(payload)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"messages": 5}, "The field messages: expected array, got int."),
        ({"messages": [{"role": "user"}]}, "The field messages[0].content is missing."),
        (
            {"messages": [{"role": "boss", "content": ""}]},
            "The field messages[0].role: 'boss' is none of "
            "'assistant', 'observation', 'system', 'user'.",
        ),
        (
            {"messages": [], "sampling": {"top_p": 1.5}},
            "The field sampling.top_p: expected float <= 1.0.",
        ),
        (
            {"messages": [], "sampling": {"logit_bias": {"x": 1.0}}},
            "The keys of sampling.logit_bias: expected int, got str.",
        ),
        ({"messages": [], "stop": [""]}, "The field stop[0]: expected str of length >= 1."),
    ],
)
def test_the_field_is_named(fields: dict[str, Any], sentence: str) -> None:
    error = refused({"op": "chat", "id": "7", **fields})
    assert error.message == sentence
    assert (error.code, error.id) == (Code.INVALID_REQUEST, "7")


@pytest.mark.parametrize(
    ("message", "request_id"),
    [
        ({"op": "nothing", "id": "7"}, "7"),
        ({"id": "7"}, "7"),
        ({"op": "status"}, ""),
        ({"op": "status", "id": 7}, ""),
        ({"op": "status", "id": ""}, ""),
        ({"op": ["status"], "id": "7"}, "7"),
        ([], ""),
        (b"", ""),
    ],
)
def test_the_id_is_found_where_there_is_one(message: Any, request_id: str) -> None:
    error = refused(message)
    assert (error.code, error.id) == (Code.BAD_MESSAGE, request_id)


def test_ids_in_logit_bias_are_written_in_decimal() -> None:
    payload = msgpack.packb(
        {"op": "chat", "id": "1", "messages": [], "sampling": {"logit_bias": {"12": -1, "3": 2.5}}}
    )
    decoded = decode_request(payload)
    assert isinstance(decoded, Chat)
    assert decoded.sampling.logit_bias == {12: -1.0, 3: 2.5}
    assert msgpack.unpackb(encode(decoded))["sampling"] == {"logit_bias": {"12": -1.0, "3": 2.5}}


@pytest.mark.parametrize(
    ("message", "fits"),
    [
        ({"op": "complete", "id": "1", "prompt": [5] * codec.MAX_ITEMS}, True),
        ({"op": "complete", "id": "1", "prompt": [5] * (codec.MAX_ITEMS + 1)}, False),
        ({"op": "complete", "id": "1", "prompt": "x" * (codec.MAX_REQUEST - 100)}, True),
        ({"op": "complete", "id": "1", "prompt": "x" * codec.MAX_REQUEST}, False),
        ({"op": "status", "id": "1"} | {str(n): n for n in range(codec.MAX_KEYS - 2)}, True),
        ({"op": "status", "id": "1"} | {str(n): n for n in range(codec.MAX_KEYS - 1)}, False),
        ({"op": "status", "id": "1", "x": [[]] * (codec.MAX_CONTAINERS - 2)}, True),
        ({"op": "status", "id": "1", "x": [[]] * (codec.MAX_CONTAINERS - 1)}, False),
    ],
    ids=range(8),
)
def test_limits(message: dict[str, Any], fits: bool) -> None:
    payload = msgpack.packb(message)
    if fits:
        decode_request(payload)
    else:
        assert refused(payload).code == Code.BAD_MESSAGE


@pytest.mark.parametrize("kind", ["list", "map"])
def test_depth(kind: str) -> None:
    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = [value] if kind == "list" else {"k": value}
        return {"op": "status", "id": "1", "x": value}

    decode_request(msgpack.packb(nested(codec.MAX_DEPTH - 1)))
    assert "inside each other" in refused(nested(codec.MAX_DEPTH)).message
    assert refused(nested(400)).code == Code.BAD_MESSAGE


@pytest.mark.parametrize(
    "payload",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xdd\x00\x01\xff\xff" * 1000 + b"\xc0" * 140_000,
        b"\x91" * 100_000,
        b"\x81\xa1k" * 100_000,
        b"\x90" * 100_000,
        b"\x82\x91\x01\x02\x03\x04",
    ],
    ids=range(10),
)
def test_bombs(payload: bytes) -> None:
    assert refused(payload).code == Code.BAD_MESSAGE


def test_half_a_surrogate_pair_is_replaced() -> None:
    reply = Delta(id="1", seq=0, content=Text("a\ud83d b \ud83d\ude00"))
    decoded = decode_reply(encode(reply))
    assert isinstance(decoded, Delta)
    assert decoded.content == Text("a\ufffd b 😀")


def test_values_a_model_wrote_are_made_to_fit() -> None:
    """Arguments of a call are Python literals, and those can be anything."""
    arguments = {
        "huge": 1 << 70,
        "tiny": -(1 << 70),
        "set": {1},
        "keys": {1: 2, 0.5: None},
        "complex": 1j,
        "lone\ud800": "\udfff",
        "tuple": (1, (2,)),
    }
    reply = Delta(id="1", seq=0, content=Call(ToolCall("f", arguments)))
    decoded = decode_reply(encode(reply))
    assert isinstance(decoded, Delta)
    assert isinstance(decoded.content, Call)
    assert decoded.content.call.arguments == {
        "huge": str(1 << 70),
        "tiny": str(-(1 << 70)),
        "set": [1],
        "keys": {"1": 2, "0.5": None},
        "complex": "1j",
        "lone\ufffd": "\ufffd",
        "tuple": [1, [2]],
    }


def test_a_reply_may_be_long() -> None:
    data = {"x": ["y" * 10] * 300_000}
    decoded = decode_reply(encode(Event(id="1", topic="queue", data=data)))
    assert isinstance(decoded, Event)
    assert decoded.data == data


def test_a_reply_of_a_newer_daemon() -> None:
    with pytest.raises(Undecodable, match="frobnicated"):
        decode_reply(msgpack.packb({"op": "frobnicated", "id": "1"}))


@given(st.text(st.characters()))
def test_any_text_survives_or_is_replaced(text: str) -> None:
    decoded = decode_request(encode(Complete(id="1", prompt=text)))
    assert isinstance(decoded, Complete)
    try:
        text.encode()
    except UnicodeEncodeError:
        assert "\ufffd" in str(decoded.prompt) or not text.isascii()
    else:
        assert decoded.prompt == text


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    with contextlib.suppress(Undecodable):
        decode_request(payload)


def test_a_message_is_small() -> None:
    assert len(encode(Status(id="1"))) == len(msgpack.packb({"op": "status", "id": "1"}))
