"""What a frontend may send. One struct an operation, tagged by `op`; unknown fields are ignored."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from glmd.chat import Message, Tool
from glmd.settings import Mode
from glmd.wire.sampling import Sampling

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Principal = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Credit = Annotated[int, msgspec.Meta(ge=0, le=65536)]
Title = Annotated[str, msgspec.Meta(max_length=200)]
Path = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
TokenId = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
Stop = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Request(msgspec.Struct, tag_field="op", frozen=True, omit_defaults=True, kw_only=True):
    """Base of all: `id` is chosen by the client and names the request on this connection.

    `principal`: who the request is for; fairness and ownership (sessions, detached requests) count
    by it. None: the principal of hello, and in hello "local".
    """

    id: Id
    principal: Principal | None = None


class Hello(Request, tag="hello", kw_only=True, frozen=True):
    """First message of a connection. `protocol`: the lowest and the highest version spoken.
    `client`: a name for logs."""

    protocol: tuple[int, int]
    client: Annotated[str, msgspec.Meta(max_length=128)]


class Generation(Request, kw_only=True, frozen=True):
    """What `chat` and `complete` have in common.

    `max_tokens`: None means up to the end of the context. `n`: answers to the same prompt.
    `logprobs`: None for none, else the number of alternatives given with each token.
    `credit`: deltas the client will take before it grants more. `detached`: the request survives
    its connection and can be taken up with `attach`.
    """

    sampling: Sampling = Sampling()
    max_tokens: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] | None = None
    stop: Annotated[list[Stop], msgspec.Meta(max_length=16)] = []
    ignore_eos: bool = False
    n: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    credit: Credit = 256
    detached: bool = False


class Chat(Generation, tag="chat", kw_only=True, frozen=True):
    """One turn of a conversation.

    Without `session` the `messages` are the whole conversation. With it they are appended behind
    message `parent` (None: the newest leaf of the session; "root": before its first message); an
    empty list asks for another answer to `parent`. `overflow`: what to do when the prompt exceeds
    the context.
    """

    messages: Annotated[list[Message], msgspec.Meta(max_length=4096)]
    tools: Annotated[list[Tool], msgspec.Meta(max_length=64)] = []
    session: Id | None = None
    parent: Id | None = None
    overflow: Literal["error", "drop_oldest"] = "error"


class Complete(Generation, tag="complete", kw_only=True, frozen=True):
    """Continue a text or token ids, without a chat template.

    `prompt_logprobs`: also give the log-probability of each prompt token after the first.
    """

    prompt: str | Annotated[list[TokenId], msgspec.Meta(min_length=1)]
    prompt_logprobs: bool = False


class Cancel(Request, tag="cancel", frozen=True):
    """End request `target`; its terminal message is `done` with finish_reason "cancelled"."""

    target: Id


class GrantCredit(Request, tag="credit", frozen=True):
    """Allow `n` more deltas of request `target`. Not answered."""

    target: Id
    n: Credit


class Attach(Request, tag="attach", kw_only=True, frozen=True):
    """Take up the detached request `target` of the same principal: its messages are sent again
    from delta `from_seq`, under the id of this attach request."""

    target: Id
    from_seq: Annotated[int, msgspec.Meta(ge=0)] = 0
    credit: Credit = 256


class Subscribe(Request, tag="subscribe", kw_only=True, frozen=True):
    """Send an `event` for each change of these facts, the present state first; [] ends it."""

    topics: Annotated[
        list[Literal["model", "replicas", "plugins", "queue"]], msgspec.Meta(max_length=8)
    ]


class Status(Request, tag="status", frozen=True):
    pass


class ListPlugins(Request, tag="plugins", frozen=True):
    pass


class ReloadPlugins(Request, tag="plugins_reload", kw_only=True, frozen=True):
    """Look for plugins again. `plugin`: load this one anew also where it is the same as before,
    which ends a quarantine."""

    plugin: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None


class Reload(Request, tag="reload", kw_only=True, frozen=True):
    """Load a model in the place of the one that serves: the same as its files are now, or another.
    Paths are the daemon's, and absolute. What is not given stays as it was, or as config.toml says
    now."""

    model: Path | None = None
    mode: Mode | None = None
    tokenizer: Path | None = None


class Tokenize(Request, tag="tokenize", kw_only=True, frozen=True):
    """Ids of a text, or of the prompt that `messages` (and `tools`) would make."""

    text: str | None = None
    messages: Annotated[list[Message], msgspec.Meta(max_length=4096)] | None = None
    tools: Annotated[list[Tool], msgspec.Meta(max_length=64)] = []


class Detokenize(Request, tag="detokenize", frozen=True):
    tokens: list[TokenId]


class SessionNew(Request, tag="session_new", frozen=True):
    title: Title = ""


class SessionList(Request, tag="session_list", kw_only=True, frozen=True):
    """Newest first; `before` is the id of the last session of the page before."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
    before: Id | None = None


class SessionGet(Request, tag="session_get", frozen=True):
    session: Id


class SessionRename(Request, tag="session_rename", frozen=True):
    session: Id
    title: Title


class SessionDelete(Request, tag="session_delete", frozen=True):
    session: Id


AnyRequest = (
    Hello
    | Chat
    | Complete
    | Cancel
    | GrantCredit
    | Attach
    | Subscribe
    | Status
    | ListPlugins
    | ReloadPlugins
    | Reload
    | Tokenize
    | Detokenize
    | SessionNew
    | SessionList
    | SessionGet
    | SessionRename
    | SessionDelete
)
