"""The keyword arguments of `chat`, `stream` and `complete`, and the requests they make."""

from __future__ import annotations

import difflib
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
from typing_extensions import TypedDict

from glmd.chat import Message, Tool
from glmd.errors import InvalidRequest
from glmd.settings import Mode
from glmd.validation import explain
from glmd.wire.replies import Progress
from glmd.wire.requests import Chat, Complete, Reload, Request, Tokenize
from glmd.wire.sampling import Sampling, Stage

Messages: TypeAlias = str | Message | Mapping[str, Any] | Sequence[Message | Mapping[str, Any]]
Tools: TypeAlias = Sequence[Tool | Mapping[str, Any]]


class SamplingOptions(TypedDict, total=False):
    """How tokens are chosen: see docs/sampling.md. What is left out the daemon decides.

    `sampling` replaces the default chain by explicit stages, or adds samplers of plugins to it.
    """

    sampling: Sequence[Stage]
    preset: Literal["greedy", "penalty_sample"] | None
    seed: int | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    top_n_sigma: float | None
    xtc_probability: float | None
    xtc_threshold: float | None
    repeat_penalty: float | None
    repeat_last_n: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    dry_multiplier: float | None
    dry_base: float | None
    dry_allowed_length: int | None
    dry_last_n: int | None
    logit_bias: Mapping[int, float] | Mapping[str, float] | None


class CallOptions(TypedDict, total=False):
    """What stays in the client: `timeout`, seconds for the whole request; `on_progress`, called
    with each Progress while the answer is waited for, in the thread or task that waits."""

    timeout: float | None
    on_progress: Callable[[Progress], None] | None


class GenerationOptions(SamplingOptions, CallOptions, total=False):
    """`max_tokens`: None for up to the end of the context. `stop`: strings that end the answer.
    `n`: answers to the same prompt. `logprobs`: alternatives given with each token, 0 for the
    token's own alone. `detached`: the request survives this client and can be taken up again with
    `attach`."""

    max_tokens: int | None
    stop: str | Sequence[str]
    ignore_eos: bool
    n: int
    logprobs: int | None
    detached: bool


class ChatOptions(GenerationOptions, total=False):
    """`tools`: what the model may call. `session`, `parent`: append the messages there instead of
    taking them as the whole conversation. `overflow`: what to do when the prompt is too long."""

    tools: Tools
    session: str | None
    parent: str | None
    overflow: Literal["error", "drop_oldest"]


class CompleteOptions(GenerationOptions, total=False):
    """`prompt_logprobs`: the log-probability of each prompt token after the first."""

    prompt_logprobs: bool


SAMPLING_FIELDS = frozenset(Sampling.__struct_fields__) - {"stages"}

_Request = TypeVar("_Request", bound=Request)


def new_id() -> str:
    """Unique beyond one connection, since a detached request is taken up on another."""
    return secrets.token_hex(8)


def chat_request(method: str, messages: Messages, options: Mapping[str, Any]) -> Chat:
    """`method`: the one that was called. Raises InvalidRequest with a sentence that names the
    field, like every one of these, and TypeError for an option that does not exist."""
    fields = {"messages": _turns(messages), "tools": _listed(options.get("tools", ()))}
    return _generation(method, Chat, fields, options)


def complete_request(
    method: str, prompt: str | Sequence[int], options: Mapping[str, Any]
) -> Complete:
    if not isinstance(prompt, Iterable):
        raise InvalidRequest(f"A prompt is a text or token ids, not {_kind(prompt)}.")
    fields = {"prompt": prompt if isinstance(prompt, str) else list(prompt)}
    return _generation(method, Complete, fields, options)


def tokenize_request(text: str | None, messages: Messages | None, tools: Tools) -> Tokenize:
    if (text is None) == (messages is None):
        raise TypeError("tokenize takes either a text or messages")
    turns = None if messages is None else _turns(messages)
    return _request(Tokenize, {"text": text, "messages": turns, "tools": _listed(tools)})


def reload_request(
    model: str | os.PathLike[str] | None,
    mode: Mode | None,
    tokenizer: str | os.PathLike[str] | None,
) -> Reload:
    """The daemon is elsewhere in the file system, so paths are said in full."""

    def in_full(path: str | os.PathLike[str] | None) -> str | None:
        return None if path is None else str(Path(path).expanduser().absolute())

    return _request(
        Reload, {"model": in_full(model), "mode": mode, "tokenizer": in_full(tokenizer)}
    )


def _turns(messages: Messages) -> list[Any]:
    if isinstance(messages, str):
        return [Message(role="user", content=messages)]
    if isinstance(messages, Message | Mapping):
        return [messages]
    if not isinstance(messages, Iterable):
        raise InvalidRequest(
            f"messages are a text, a Message, a dict, or a list of these, not {_kind(messages)}."
        )
    return list(messages)


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _listed(value: Any) -> Any:
    """Any iterable as a list; what is none is left to be refused with the name of its field."""
    return list(value) if isinstance(value, Iterable) else value


def _stages(value: Any) -> Any:
    """A name is easily given for a stage, and a stage for a list of one."""
    alone = isinstance(value, str | Stage)
    stages = [value] if alone else _listed(value)
    first = stages[0] if isinstance(stages, list) and stages else ""
    if alone or (first and isinstance(first, str)):
        name = first.name if isinstance(first, Stage) else first
        raise InvalidRequest(
            f"sampling is a list of Stages; {name!r} was given as a {_kind(first)}"
            f"{' alone' if alone else ''}.",
            hint=f"Say it so: sampling=[glmd.Stage({name!r})].",
        )
    return stages


def _generation(
    method: str, kind: type[_Request], fields: dict[str, Any], options: Mapping[str, Any]
) -> _Request:
    known = (ChatOptions if kind is Chat else CompleteOptions).__annotations__
    sampling: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"{method} has no option {name!r}{_instead(name, known)}")
        if name in CallOptions.__annotations__ or name in fields:
            continue
        if name in SAMPLING_FIELDS:
            sampling[name] = value
        elif name == "sampling":
            sampling["stages"] = _stages(value)
        elif name == "stop":
            fields["stop"] = [value] if isinstance(value, str) else _listed(value)
        else:
            fields[name] = value
    return _request(kind, {**fields, "sampling": sampling})


def _instead(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {close[0]!r}?" if close else "."


def _request(kind: type[_Request], fields: dict[str, Any]) -> _Request:
    tagged = {**fields, "op": kind.__struct_config__.tag, "id": new_id()}
    try:
        return msgspec.convert(tagged, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise InvalidRequest(explain(error, kind)) from None
