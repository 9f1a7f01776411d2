"""Which conversations are refused, and in what words."""

from __future__ import annotations

import pytest

from glmd.chat import Message, Tool, ToolCall
from glmd.daemon.chat.conversation import check_conversation
from glmd.errors import InvalidRequest

USER = Message("user", "Rain?")
ANSWER = Message("assistant", "No.")
CALL = Message("assistant", "", tool_call=ToolCall("get_weather", {}))
RESULT = Message("observation", "dry")
SYSTEM = Message("system", "Be brief.")


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [SYSTEM, USER],
        [SYSTEM, SYSTEM, USER],
        [USER, ANSWER, USER],
        [USER, USER],
        [USER, CALL, RESULT],
        [USER, CALL, RESULT, RESULT, ANSWER, USER],
        [ANSWER, USER],
    ],
)
def test_conversations_that_can_be_answered(messages: list[Message]) -> None:
    check_conversation(messages, [])


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([], "has no messages"),
        ([USER, SYSTEM, USER], r"messages\[1\] has the role system behind a turn of the user"),
        ([RESULT], r"messages\[0\] is an observation and is the first turn"),
        ([USER, RESULT], r"messages\[1\] is an observation and follows a turn of the user"),
        ([USER, ANSWER], "ends with a turn of the assistant"),
        ([SYSTEM], "ends with a turn of the system"),
        ([Message("user", "x", "two\nlines")], r"messages\[0\] has metadata of more than one"),
        (
            [Message("user", "x", tool_call=ToolCall("f", {}))],
            r"messages\[0\] has a tool_call and the role user",
        ),
        (
            [USER, Message("assistant", "", "f", ToolCall("f", {})), RESULT],
            r"messages\[1\] has both metadata and a tool_call",
        ),
        (
            [USER, Message("assistant", "", "", ToolCall("two\nlines", {})), RESULT],
            r"messages\[1\]\.tool_call has the name 'two\\nlines'",
        ),
    ],
)
def test_conversations_that_cannot(messages: list[Message], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        check_conversation(messages, [])


def test_messages_are_counted_from_the_request() -> None:
    with pytest.raises(InvalidRequest, match=r"messages\[0\] has the role system behind"):
        check_conversation([USER, ANSWER, SYSTEM, USER], [], kept=2)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["f", "f"], r"tools\[1\] is the second tool named 'f'"),
        ([" f"], r"tools\[0\] has the name"),
    ],
)
def test_tools_have_names_of_their_own(names: list[str], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        check_conversation([USER], [Tool(name) for name in names])
