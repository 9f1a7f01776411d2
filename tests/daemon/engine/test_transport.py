"""Frames survive any cut, and nonsense is refused."""

from __future__ import annotations

import random

import pytest

from glmd.daemon.engine import transport
from glmd.daemon.engine.messages import (
    Cancel,
    Failed,
    Load,
    Logprob,
    Prefilled,
    PromptLogprobs,
    Report,
    Step,
    Stop,
    Submit,
    Token,
)
from glmd.wire.sampling import Stage

COMMANDS = [
    Load("model", "cpu", "int4", context=128, devices=[0, 1]),
    Submit(
        id=7,
        prompt=[1, 2, 65023],
        choices=[(0, []), (3, [5, 6])],
        stages=[Stage("top_p", {"p": 0.8})],
        seed=(1 << 63) - 1,
        stop_ids=[2],
        max_tokens=10,
        logprobs=0,
    ),
    Cancel(7),
    Cancel(7, 3),
    Stop(),
]

EVENTS = [
    Prefilled(7, 3, 3, 1),
    PromptLogprobs(7, [Logprob(-1.5, [(4, -0.25)])]),
    Step([Token(7, 0, 5), Token(7, 3, 2, "stop", Logprob(-0.5, []))]),
    Step([]),
    Failed(7, "engine_failed", "It broke.", "Try again."),
    Report(2, [{"device": 0, "temperature": 51.0}]),
]


@pytest.mark.parametrize(
    ("decoder", "messages"), [(transport.commands, COMMANDS), (transport.events, EVENTS)]
)
def test_every_message_arrives_however_the_stream_is_cut(decoder, messages) -> None:
    stream = b"".join(transport.encode(message) for message in messages)
    rng = random.Random(1)
    for _ in range(200):
        reader = decoder()
        arrived = []
        at = 0
        while at < len(stream):
            n = rng.choice([1, 2, 5, 40, 1000])
            arrived += reader.feed(stream[at : at + n])
            at += n
        assert arrived == messages


@pytest.mark.parametrize(
    "stream",
    [
        b"\xff\xff\xff\xff",  # a length that no message has
        b"\0\0\0\1\xc1",  # never used in msgpack
        b"\0\0\0\2\x81\xa0",  # a map cut short
        b"\0\0\0\1\x80",  # a map without an operation
        bytes(transport.encode(Stop())),  # a command where an event is due
    ],
)
def test_what_is_no_event_is_refused(stream: bytes) -> None:
    with pytest.raises(transport.FramingError):
        list(transport.events().feed(stream))
