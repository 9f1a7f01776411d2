"""docs/protocol.md says everything there is to say, and nothing that is not so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from glmd.daemon.__main__ import DESCRIPTORS
from glmd.daemon.server import connection, socket, stream
from glmd.errors import Code
from glmd.facts import DaemonFacts
from glmd.wire import PROTOCOL_MAX, codec
from glmd.wire.replies import AnyReply, Call, Plugins, StatusReply, Text, ToolResult
from glmd.wire.requests import AnyRequest, Chat, Complete, Generation

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()

SECTIONS = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##)", DOCUMENT, re.MULTILINE | re.DOTALL))

TITLES: dict[type, str] = {
    StatusReply: "status (reply)",
    Plugins: "plugins (reply)",
    Text: "text (content)",
    Call: "tool_call (content)",
    ToolResult: "tool_result (content)",
}


def structs() -> list[type[msgspec.Struct]]:
    """Every struct that a message can hold."""
    found: list[type[msgspec.Struct]] = []

    def visit(hint: Any) -> None:
        is_struct = isinstance(hint, type) and issubclass(hint, msgspec.Struct)
        if is_struct and hint not in found:
            found.append(hint)
            for inner in get_type_hints(hint).values():
                visit(inner)
        for argument in get_args(hint):
            visit(argument)

    for member in (*get_args(AnyRequest), *get_args(AnyReply)):
        visit(member)
    return found


def title(struct: type[msgspec.Struct]) -> str:
    tag = struct.__struct_config__.tag
    return TITLES.get(struct) or (tag if isinstance(tag, str) else struct.__name__)


def rows(section: str) -> list[str]:
    """The fields that a section's table lists."""
    table = re.findall(r"^\| field \|.*?\n\|[-|]+\|\n((?:\|.*\n)+)", section, re.MULTILINE)
    return [name for block in table for name in re.findall(r"^\| `(\w+)`", block, re.MULTILINE)]


def fields(struct: type[msgspec.Struct]) -> Iterator[str]:
    for name in struct.__struct_fields__:
        if name in {"id", "principal"}:
            continue
        if struct in {Chat, Complete} and name in Generation.__struct_fields__:
            continue
        yield name


@pytest.mark.parametrize("struct", structs(), ids=lambda struct: struct.__name__)
def test_every_struct_has_a_section_with_its_fields(struct: type[msgspec.Struct]) -> None:
    assert sorted(rows(SECTIONS[title(struct)])) == sorted(fields(struct))


def test_the_fields_of_generations() -> None:
    listed = set(rows(SECTIONS["generation"]))
    assert listed == set(Generation.__struct_fields__) - {"id", "principal"}


def test_there_is_no_section_about_something_else() -> None:
    about = {title(struct) for struct in structs()}
    prose = {"Where the daemon listens", "Being there", "generation"}
    assert set(SECTIONS) == about | prose


def test_every_error_code_is_explained_and_no_other() -> None:
    table = DOCUMENT[DOCUMENT.index("## Errors") : DOCUMENT.index("## Versions")]
    explained = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert sorted(explained) == sorted(code.value for code in Code)


@pytest.mark.parametrize(
    "stated",
    [
        f"The version\ndescribed is **{PROTOCOL_MAX}**",
        f"{codec.MAX_REQUEST >> 20} MiB (`max_message`",
        f"beyond {socket.MAX_FRAME >> 20} MiB ZeroMQ",
        f"{codec.MAX_ITEMS:,} items",
        f"map {codec.MAX_KEYS:,} keys",
        f"{codec.MAX_CONTAINERS:,} maps and arrays",
        f"at most {codec.MAX_DEPTH} inside",
        f"on open files allows, up to {DESCRIPTORS:,}",
        f"| {connection.LIVE_REQUESTS}, then `busy`",
        f"{socket.QUEUED_MESSAGES:,} in ZeroMQ and {connection.OUTBOX:,} in the daemon",
        f"every {socket.HEARTBEAT_MS // 1000} seconds",
        f"silent for {socket.HEARTBEAT_TIMEOUT_MS // 1000} more",
        f"After {stream.CREDIT_TIMEOUT:.0f} seconds with",
        f"{stream.GATHERED_BYTES >> 20} MiB of it",
        f"{stream.KEPT_BYTES >> 20} MiB of deltas are kept",
    ],
)
def test_numbers_are_those_of_the_code(stated: str) -> None:
    assert " ".join(stated.split()) in " ".join(DOCUMENT.split())


def test_the_client_in_the_document_works(
    shared_daemon: DaemonFacts, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    runtime_dir = shared_daemon.endpoints[0].removeprefix("ipc://").removesuffix("/default/sock")
    scope: dict[str, Any] = {"runtime_dir": runtime_dir}
    try:
        exec(program, scope)
    finally:
        scope["socket"].context.destroy(linger=0)
    assert scope["reply"]["op"] == "done"
    assert capsys.readouterr().out.strip()
