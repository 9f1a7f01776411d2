"""The golden corpus: what version 1 is, byte for byte."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import msgpack
import msgspec
import pytest

from glmd.wire.codec import Undecodable, decode_reply, decode_request, encode
from glmd.wire.replies import AnyReply
from glmd.wire.requests import AnyRequest

FOLDER = Path(__file__).parent / "v1"


def named(kind: str) -> list[Any]:
    files = sorted((FOLDER / kind).glob("*.msgpack"))
    return [pytest.param(file, id=file.stem) for file in files]


def mirror(file: Path) -> Any:
    return msgspec.json.decode(file.with_suffix(".json").read_bytes())


def as_json(message: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(message, str_keys=True)))


@pytest.fixture(scope="module")
def examples() -> ModuleType:
    spec = importlib.util.spec_from_file_location("examples", FOLDER.parent / "examples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", [*named("requests"), *named("replies")])
def test_the_json_is_what_the_bytes_say(file: Path) -> None:
    assert msgpack.unpackb(file.read_bytes()) == mirror(file)


@pytest.mark.parametrize("file", named("requests"))
def test_requests_are_read(file: Path) -> None:
    request = decode_request(file.read_bytes())
    assert decode_request(encode(request)) == request
    assert as_json(request).items() <= mirror(file).items()


@pytest.mark.parametrize("file", named("replies"))
def test_replies_are_read_and_written(file: Path) -> None:
    reply = decode_reply(file.read_bytes())
    assert as_json(reply) == mirror(file)
    assert encode(reply) == file.read_bytes()


@pytest.mark.parametrize("file", named("invalid"))
def test_what_is_no_message_is_refused(file: Path) -> None:
    with pytest.raises(Undecodable) as caught:
        decode_request(file.read_bytes())
    assert caught.value.code.value == mirror(file)["code"]
    assert caught.value.message.endswith(".")


def test_the_corpus_is_what_the_examples_make(examples: ModuleType) -> None:
    made = examples.files()
    kept = {
        str(file.relative_to(FOLDER)): file.read_bytes()
        for file in FOLDER.rglob("*")
        if file.is_file()
    }
    assert kept == made


def seen(value: Any, into: dict[type, set[str]]) -> None:
    """Note the fields of every struct in `value` that are not at their default."""
    if isinstance(value, msgspec.Struct):
        names = into.setdefault(type(value), set())
        for field in msgspec.structs.fields(value):
            present = getattr(value, field.name)
            default = field.default
            if field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            if present != default:
                names.add(field.name)
            seen(present, into)
    elif isinstance(value, list | tuple):
        for item in value:
            seen(item, into)


def test_the_corpus_has_every_operation_and_every_field(examples: ModuleType) -> None:
    used: dict[type, set[str]] = {}
    for message in (*examples.REQUESTS.values(), *examples.REPLIES.values()):
        seen(message, used)
    for member in (*get_args(AnyRequest), *get_args(AnyReply)):
        assert member in used, f"no example of {member.__name__}"
    for kind, names in used.items():
        missing = set(kind.__struct_fields__) - names - {"principal"}
        assert not missing, f"no example of {kind.__name__}.{missing}"
