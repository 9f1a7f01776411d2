"""What the daemon sends. One struct an operation, tagged by `op`; `id` is the request's.

A generation is answered by `accepted`, any number of `progress` and `delta`, and exactly one `done`
or `error`. Every other request but `credit` gets exactly one reply.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from glmd.chat import Message, ToolCall

FinishReason = Literal["stop", "length", "tool_call", "cancelled"]
ReloadState = Literal["checking", "draining", "loading", "restoring", "done", "failed"]
Phase = Literal["queued", "loading", "prefill", "replaying", "reloading"]


class Reply(msgspec.Struct, tag_field="op", frozen=True, omit_defaults=True, kw_only=True):
    id: str


class Limits(msgspec.Struct, frozen=True):
    """Bounds the daemon enforces: bytes of one message, waiting requests, seconds without credit,
    seconds a detached stream is kept."""

    max_message: int
    max_queue: int
    credit_timeout: float
    detached_ttl: float


class Welcome(Reply, tag="welcome", kw_only=True, frozen=True):
    """`boot_id` changes with every start of the daemon: a client that meets another one says hello
    again."""

    protocol: int
    server: str
    boot_id: str
    pid: int
    limits: Limits


class Accepted(Reply, tag="accepted", kw_only=True, frozen=True):
    """`dropped`: oldest turns left out to fit the context. `message`: the id under which the turn's
    last user message is kept in its session. `seed`: the seed in use, also when none was asked."""

    prompt_tokens: int
    seed: int
    dropped: int = 0
    session: str | None = None
    message: str | None = None


class Progress(Reply, tag="progress", kw_only=True, frozen=True):
    """Sent at least once a second until the first delta. `done` of `total`: tokens in prefill,
    requests ahead when queued."""

    phase: Phase
    done: int
    total: int


class TokenLogprob(msgspec.Struct, frozen=True, omit_defaults=True):
    """Natural logarithms under the model's own distribution, before the sampler chain."""

    token: int
    text: str
    logprob: float
    top: list[tuple[int, str, float]] = []


class Text(msgspec.Struct, tag_field="type", tag="text", frozen=True, omit_defaults=True):
    """`tokens`: the ids behind `text`; a character may be complete only some tokens later."""

    text: str
    tokens: list[int] = []
    logprobs: list[TokenLogprob] = []


class Call(msgspec.Struct, tag_field="type", tag="tool_call", frozen=True, omit_defaults=True):
    call: ToolCall
    tokens: list[int] = []
    logprobs: list[TokenLogprob] = []


class ToolResult(msgspec.Struct, tag_field="type", tag="tool_result", frozen=True):
    """The daemon ran a tool itself and gave `content` to the model."""

    name: str
    content: str


class Delta(Reply, tag="delta", kw_only=True, frozen=True):
    """`seq` counts the deltas of a request from 0 without a gap."""

    seq: int
    content: Text | Call | ToolResult
    choice: int = 0


class Ending(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one choice ended. `stop`: the stop string met. `message`: its id in the session.
    `unsaved`: why it has none although the request named a session."""

    choice: int
    finish_reason: FinishReason
    stop: str | None = None
    message: str | None = None
    unsaved: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """Tokens. `cached_tokens`: the part of the prompt whose KV was already there."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


class Timings(msgspec.Struct, frozen=True):
    """Milliseconds: waiting, prefill, until the first token was made, all. Tokens per second of
    decode, over all choices."""

    queue_ms: float
    prefill_ms: float
    first_token_ms: float
    total_ms: float
    tokens_per_second: float


class Done(Reply, tag="done", kw_only=True, frozen=True):
    """`seq`: the number of deltas sent. `prompt_logprobs`: one a prompt token after the first."""

    seq: int
    endings: list[Ending]
    usage: Usage
    timings: Timings
    prompt_logprobs: list[TokenLogprob] = []


class Failure(Reply, tag="error", kw_only=True, frozen=True):
    """`id` is "" when the message that caused it could not be read. `code`: glmd.errors.Code."""

    code: str
    message: str
    hint: str = ""
    retry_after_ms: int | None = None
    plugin: str | None = None


class Ok(Reply, tag="ok", frozen=True):
    """Done, and nothing to say."""


class Event(Reply, tag="event", kw_only=True, frozen=True):
    """A fact changed; `id` is that of the subscribe request, `data` as in docs/protocol.md."""

    topic: str
    data: dict[str, Any]


class DeviceStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One accelerator chip; None where the library does not say. Bytes, 0..1, degrees Celsius."""

    device: int
    memory_total: int | None = None
    memory_used: int | None = None
    utilisation: float | None = None
    temperature: float | None = None


class ReplicaStatus(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`pid` is that of the engine child, None while there is none. `memory`: bytes, resident.
    `decodes`: how often its engine child gave one answer its next token, two answers at once,
    three, and so on."""

    index: int
    state: Literal["loading", "ready", "restarting", "failed", "stopped"]
    pid: int | None = None
    devices: list[DeviceStatus] = []
    slots: int = 0
    slots_busy: int = 0
    requests_served: int = 0
    model_loads: int = 0
    memory: int = 0
    decodes: list[int] = []
    error: str = ""


class ReloadStatus(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The reload that runs, or the last one. `started`: seconds since the epoch; `seconds` it has
    taken. `code`, `error`: why it failed."""

    state: ReloadState
    model_path: str
    started: float
    seconds: float = 0.0
    code: str = ""
    error: str = ""


class StatusReply(Reply, tag="status", kw_only=True, frozen=True):
    """`placement` says in a sentence why the replicas are as they are. `clients_served`: distinct
    connections that had a request accepted. `server_key`: what a client needs for the tcp endpoint,
    "" without one. `model_identity`: names the very files that are loaded. `leaving`: models that
    finish what they accepted before a reload. `reload`: None before the first."""

    server: str
    name: str
    pid: int
    boot_id: str
    uptime: float
    endpoints: list[str]
    server_key: str = ""
    state: Literal["loading", "ready", "degraded", "failed", "stopping"]
    backend: str
    simulated: bool
    model: str
    model_path: str
    mode: str
    context: int
    placement: str
    replicas: list[ReplicaStatus]
    queued: int
    running: int
    clients: int
    clients_served: int
    requests_served: int
    model_loads: int
    model_identity: str = ""
    leaving: int = 0
    reload: ReloadStatus | None = None


class PluginInfo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One plugin. `state`: it serves; it could not be loaded; it must not be; its requests failed
    too often, or it took an engine down. `error`: why, and where a newer content of the file could
    not be loaded, why that one does not serve. `version` as the plugin says, `sha256` of its file,
    `load_ms`: milliseconds that importing it took."""

    name: str
    state: Literal["loaded", "failed", "blocked", "quarantined"]
    origin: Literal["built-in", "package", "file"]
    path: str = ""
    version: str = ""
    sha256: str = ""
    hooks: list[str] = []
    samplers: list[str] = []
    tools: list[str] = []
    load_ms: float = 0.0
    error: str = ""


class StageInfo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A stage that a request may name. `plugin`: whose it is, "" for a built-in one. `params`: JSON
    schema of its parameters."""

    name: str
    plugin: str = ""
    about: str = ""
    params: dict[str, Any]
    replayable: bool = True


class Plugins(Reply, tag="plugins", kw_only=True, frozen=True):
    plugins: list[PluginInfo]
    stages: list[StageInfo]


class Tokens(Reply, tag="tokens", frozen=True):
    tokens: list[int]
    pieces: list[str]


class Detokenized(Reply, tag="text", frozen=True):
    text: str


class SessionInfo(msgspec.Struct, frozen=True):
    """Times are seconds since the epoch. `messages`: how many the tree holds."""

    session: str
    title: str
    created: float
    updated: float
    messages: int


class StoredMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node of the tree. `finish_reason` is None for messages that were not generated."""

    message: str
    parent: str | None
    created: float
    content: Message
    finish_reason: FinishReason | None = None


class Session(Reply, tag="session", kw_only=True, frozen=True):
    """`tree`: every message, parents before children. `leaf`: the newest one, where a turn without
    `parent` goes on."""

    info: SessionInfo
    tree: list[StoredMessage] = []
    leaf: str | None = None


class Sessions(Reply, tag="sessions", frozen=True):
    sessions: list[SessionInfo]


AnyReply = (
    Welcome
    | Accepted
    | Progress
    | Delta
    | Done
    | Failure
    | Ok
    | Event
    | StatusReply
    | Plugins
    | Tokens
    | Detokenized
    | Session
    | Sessions
)
