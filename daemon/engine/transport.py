"""Frames on the socket pair between core and a child of its: 4 bytes of length, then msgpack."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from glmd.daemon.engine.messages import AnyCommand, AnyEvent

_LENGTH = struct.Struct(">I")
# Far above what the longest prompt needs: a length beyond it means the stream is out of step.
MAX_FRAME = 1 << 28

T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder()


class FramingError(Exception):
    """The bytes on the socket pair are not frames of this build."""


def encode(message: msgspec.Struct) -> bytearray:
    frame = bytearray(_LENGTH.size)
    _encoder.encode_into(message, frame, _LENGTH.size)
    _LENGTH.pack_into(frame, 0, len(frame) - _LENGTH.size)
    return frame


class Decoder(Generic[T]):
    """Turns the bytes that arrive, cut anywhere, into messages."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[T]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[T]:
        """Yield every message completed by `data`. Raises FramingError."""
        self._buffer += data
        start = 0
        try:
            while len(self._buffer) - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(self._buffer, start)
                if length > MAX_FRAME:
                    raise FramingError(f"a frame of {length} bytes; at most {MAX_FRAME} are sent")
                end = start + _LENGTH.size + length
                if len(self._buffer) < end:
                    break
                frame = bytes(self._buffer[start + _LENGTH.size : end])
                start = end
                try:
                    message = self._decoder.decode(frame)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise FramingError(f"a frame that is no message: {error}") from error
                yield message
        finally:
            del self._buffer[:start]


def commands() -> Decoder[AnyCommand]:
    """What the engine child reads with."""
    return Decoder(msgspec.msgpack.Decoder(AnyCommand))


def events() -> Decoder[AnyEvent]:
    """What the core reads with."""
    return Decoder(msgspec.msgpack.Decoder(AnyEvent))
