"""Bytes ⇄ messages. One message is one msgpack map in one frame.

Decoding trusts nothing: the `msgpack` package reads under caps on every length, then
`msgspec.convert` checks types and ranges. Whatever the bytes are, the only exception that leaves
`decode_request` is Undecodable. Maps have string keys only, so JSON shows every message as it is.
"""

from __future__ import annotations

import itertools
from typing import Any, TypeVar, get_args

import msgpack
import msgspec

from glmd.errors import Code, InvalidRequest
from glmd.validation import explain
from glmd.wire.replies import AnyReply, Reply
from glmd.wire.requests import AnyRequest, Request

MAX_REQUEST = 1 << 20  # bytes of a message to the daemon
MAX_REPLY = 64 << 20  # bytes of a message from it: a session with all its messages is one
MAX_ITEMS = 1 << 17  # of one array: the longest context of a ChatGLM3
MAX_KEYS = 1024  # of one map
MAX_CONTAINERS = 1 << 15  # maps and arrays of one message
MAX_DEPTH = 32  # of them inside each other

T = TypeVar("T")

_REQUESTS: dict[str, type[AnyRequest]] = {
    str(member.__struct_config__.tag): member for member in get_args(AnyRequest)
}
_REPLIES: dict[str, type[AnyReply]] = {
    str(member.__struct_config__.tag): member for member in get_args(AnyReply)
}

# msgpack raises ValueError (of which its own errors and UnicodeDecodeError are kinds) for bytes,
# and TypeError for a map whose key is a list.
_UNPACK_ERRORS = (ValueError, TypeError, RecursionError, OverflowError, MemoryError)


class Undecodable(InvalidRequest):
    """A message that is none of this protocol. `id` is the request's, "" where it has none."""

    def __init__(self, message: str, code: Code, request_id: str = "") -> None:
        super().__init__(message, code=code, hint="docs/protocol.md lists operations and fields.")
        self.id = request_id


def decode_request(payload: bytes) -> AnyRequest:
    """Raises Undecodable with a sentence that names the field."""
    if len(payload) > MAX_REQUEST:
        raise Undecodable(
            f"The message has {len(payload):,} bytes; at most {MAX_REQUEST:,} are taken.",
            Code.BAD_MESSAGE,
        )
    return _typed(_unpack(payload, MAX_ITEMS, MAX_CONTAINERS), _REQUESTS)


def decode_reply(payload: bytes) -> AnyReply:
    """Raises Undecodable; operations and fields of newer daemons are the caller's to ignore."""
    if len(payload) > MAX_REPLY:
        raise Undecodable(f"A reply of {len(payload):,} bytes is too long.", Code.BAD_MESSAGE)
    return _typed(_unpack(payload, MAX_REPLY, MAX_REPLY), _REPLIES)


def encode(message: Request | Reply) -> bytes:
    """Never fails for text a model wrote: what msgpack cannot hold is replaced, see `_packable`."""
    fields = msgspec.to_builtins(message, str_keys=True, enc_hook=repr)
    try:
        return msgspec.msgpack.encode(fields)
    except (UnicodeEncodeError, OverflowError, TypeError, RecursionError):
        return msgspec.msgpack.encode(_packable(fields))


def _unpack(payload: bytes, max_items: int, max_containers: int) -> dict[str, Any]:
    count = itertools.count(1)

    def counted(container: Any) -> Any:
        # A megabyte of empty lists would keep the event loop for half a second.
        if next(count) > max_containers:
            raise ValueError(f"more than {max_containers} maps and arrays")
        return container

    try:
        fields = msgpack.unpackb(
            payload,
            raw=False,
            strict_map_key=True,
            object_hook=counted,
            list_hook=counted,
            max_str_len=len(payload),
            max_bin_len=0,
            max_ext_len=0,
            max_array_len=min(len(payload), max_items),
            max_map_len=min(len(payload), MAX_KEYS),
        )
    except _UNPACK_ERRORS as error:
        what = " ".join(str(error).split())[:200] or type(error).__name__
        raise Undecodable(f"The bytes are not a message: {what}.", Code.BAD_MESSAGE) from None
    if not isinstance(fields, dict):
        raise Undecodable("A message is a map of fields.", Code.BAD_MESSAGE)
    if not _is_plain(fields):
        raise Undecodable(
            f"Maps have string keys, and at most {MAX_DEPTH} lie inside each other.",
            Code.BAD_MESSAGE,
            _id_of(fields),
        )
    return fields


def _is_plain(root: dict[Any, Any]) -> bool:
    """Whether keys are strings and containers lie at most MAX_DEPTH deep. Level by level: recursion
    would be the weakness this guards."""
    level: list[Any] = [root]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            if container.__class__ is dict:
                for key in container:
                    if key.__class__ is not str:
                        return False
                container = container.values()
            for item in container:
                if item.__class__ is dict or item.__class__ is list:
                    below.append(item)
        if not below:
            return True
        level = below
    return False


def _id_of(fields: dict[str, Any]) -> str:
    request_id = fields.get("id", "")
    return request_id if isinstance(request_id, str) and len(request_id) <= 64 else ""


def _typed(fields: dict[str, Any], types: dict[str, type[T]]) -> T:
    # A look-up by `op` here, because msgspec would analyse the union anew with every message.
    op, request_id = fields.get("op"), _id_of(fields)
    if not isinstance(op, str) or op not in types:
        what = f"There is no operation {str(op)[:64]!r}." if op else "The field op is missing."
        raise Undecodable(what, Code.BAD_MESSAGE, request_id)
    try:
        return msgspec.convert(fields, types[op], str_keys=True)
    except (msgspec.ValidationError, RecursionError) as error:
        code = Code.INVALID_REQUEST if request_id else Code.BAD_MESSAGE
        raise Undecodable(explain(error, types[op]), code, request_id) from None


def _packable(value: Any) -> Any:
    """Lone surrogates become U+FFFD, integers beyond 64 bits and foreign keys become text."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_packable(str(key)): _packable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_packable(item) for item in value]
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    return value
