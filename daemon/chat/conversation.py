"""What makes a list of turns a conversation that ChatGLM3 can answer."""

from __future__ import annotations

from collections.abc import Sequence

from glmd.chat import Message, Tool
from glmd.errors import InvalidRequest


def check_conversation(messages: Sequence[Message], tools: Sequence[Tool], kept: int = 0) -> None:
    """Raises InvalidRequest, with a sentence, unless the model can be asked for the next turn.

    `kept`: how many of `messages` come from a session; the numbers in the sentences count the
    others, which are the request's own.
    """
    if not messages:
        raise InvalidRequest("The conversation has no messages.", hint="Send at least one.")
    for i, message in enumerate(messages):
        where = f"messages[{i - kept}]" if i >= kept else f"message {i} of the session"
        _check_message(message, where)
        before = messages[i - 1].role if i else None
        if message.role == "system" and before not in {None, "system"}:
            raise InvalidRequest(
                f"{where} has the role system behind a turn of the {before}.",
                hint="System messages stand at the start of a conversation.",
            )
        if message.role == "observation" and before not in {"assistant", "observation"}:
            follows = "is the first turn" if before is None else f"follows a turn of the {before}"
            raise InvalidRequest(
                f"{where} is an observation and {follows}.",
                hint="A tool's result follows the assistant turn that called the tool.",
            )
    if messages[-1].role not in {"user", "observation"}:
        raise InvalidRequest(
            f"The conversation ends with a turn of the {messages[-1].role}.",
            hint="The last message must be the user's, or an observation.",
        )
    _check_tools(tools)


def _check_message(message: Message, where: str) -> None:
    if "\n" in message.metadata:
        raise InvalidRequest(f"{where} has metadata of more than one line.")
    call = message.tool_call
    if call is None:
        return
    if message.role != "assistant":
        raise InvalidRequest(
            f"{where} has a tool_call and the role {message.role}.",
            hint="Only the assistant calls tools.",
        )
    if message.metadata:
        raise InvalidRequest(
            f"{where} has both metadata and a tool_call, and a role line holds one of them.",
            hint="Leave metadata empty; the call's name goes there.",
        )
    _check_name(call.name, f"{where}.tool_call")


def _check_tools(tools: Sequence[Tool]) -> None:
    names: set[str] = set()
    for i, tool in enumerate(tools):
        _check_name(tool.name, f"tools[{i}]")
        if tool.name in names:
            raise InvalidRequest(f"tools[{i}] is the second tool named {tool.name!r}.")
        names.add(tool.name)


def _check_name(name: str, where: str) -> None:
    if name != name.strip() or "\n" in name:
        raise InvalidRequest(
            f"{where} has the name {name!r}, which a role line cannot hold.",
            hint="Use one line without spaces around it.",
        )
