"""What the core and an engine child say to each other.

One msgpack map a message, behind a length of 4 bytes (big endian), over the socket pair the child
inherits. Both ends are the same build, so there is no version. The core never imports the compiled
engine; this module is all it shares with the child.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from glmd.discovery import Source
from glmd.wire.sampling import Stage


class Command(msgspec.Struct, tag_field="op", frozen=True, omit_defaults=True):
    """Base of what the core sends."""


class Load(Command, tag="load", frozen=True):
    """First command. `model`: checkpoint folder, packed file or bmodel. `mode`: f16, int8, int4, or
    "" for the model's own. `context`: positions a slot holds, 0 for the model's own. `slots`,
    `threads`: 0 for automatic. `sharing`: children that are loading at the same time and divide the
    machine's free memory among them; `reserved`: bytes of it that are promised to others; `fewest`:
    slots below which this is out_of_memory. `identity`: what the model's files must be, "" for any.
    `devices`: ids of chips, in the order the bmodel counts them. `simulate`: a simulator is in
    their place. `libsophon`: folder of the libraries, "" to look for them. `vocab`: ids of the
    tokenizer, 0 where the model says how many it has. `plugin_memory`: bytes that plugins may add,
    0 for any number.
    """

    model: str
    backend: str
    mode: str = ""
    context: int = 0
    slots: int = 0
    threads: int = 0
    sharing: int = 1
    reserved: int = 0
    fewest: int = 0
    identity: str = ""
    devices: list[int] = []
    simulate: bool = False
    libsophon: str = ""
    vocab: int = 0
    plugin_memory: int = 0


class Vocabulary(Command, tag="vocabulary", frozen=True):
    """The bytes that each id adds to a text, for plugins. Sent before the first of them."""

    table: list[bytes]


class Import(Command, tag="import", frozen=True):
    """Have a plugin ready under this number. Sent before the first request that names it."""

    number: int
    source: Source


class Forget(Command, tag="forget", frozen=True):
    """No request names this plugin any more."""

    number: int


class Submit(Command, tag="submit", frozen=True):
    """Generate. `id` is the core's own number.

    `choices`: for each answer the index and the tokens it has already given: those are forced
    through decode without being sent again. `stop_ids` end an answer (finish "stop", and the id is
    sent as the last token). `logprobs`: None, or how many alternatives. `plugins`: the number of
    the plugin whose sampler a stage's name means. `states`: of a choice, those that came with its
    last token.
    """

    id: int
    prompt: list[int]
    choices: list[tuple[int, list[int]]]
    stages: list[Stage]
    seed: int
    stop_ids: list[int]
    max_tokens: int
    logprobs: int | None = None
    prompt_logprobs: bool = False
    plugins: dict[str, int] = {}
    states: dict[int, list[bytes]] = {}


class Cancel(Command, tag="cancel", frozen=True):
    """Stop a request, or one choice of it. Nothing more is sent for it."""

    id: int
    choice: int | None = None


class Stop(Command, tag="stop", frozen=True):
    """Unload and exit."""


AnyCommand = Load | Vocabulary | Import | Forget | Submit | Cancel | Stop


class Event(msgspec.Struct, tag_field="op", frozen=True, omit_defaults=True):
    """Base of what the engine child sends."""


class Loading(Event, tag="loading", frozen=True):
    """Bytes of weights read so far."""

    done: int
    total: int


class Ready(Event, tag="ready", frozen=True):
    """The model is loaded. `outputs`: of token, candidates, logits. `vocab`: the padded length.
    `model_bytes`, `kv_bytes`: of weights, and of KV cache once every slot is full."""

    slots: int
    context: int
    vocab: int
    mode: str
    backend: str
    outputs: list[str]
    devices: list[int] = []
    model_bytes: int = 0
    kv_bytes: int = 0
    seconds: float = 0.0


class Broken(Event, tag="broken", frozen=True):
    """The model could not be loaded; the child exits. `code`: glmd.errors.Code."""

    code: str
    message: str
    hint: str = ""


class Prefilled(Event, tag="prefilled", frozen=True):
    """`done` of `total` prompt tokens are in the KV cache, `cached` of them were there before."""

    id: int
    done: int
    total: int
    cached: int


class Logprob(msgspec.Struct, frozen=True, array_like=True):
    """Natural logarithm under the model's distribution before sampling, and the best `top` ids."""

    logprob: float
    top: list[tuple[int, float]]


class PromptLogprobs(Event, tag="prompt_logprobs", frozen=True):
    """For the prompt tokens after the first, in order; sent once, before the first token."""

    id: int
    items: list[Logprob]


class Token(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One sampled token. `finish`: set on a choice's last one. A choice that may give no token at
    all (max_tokens 0) finishes with token -1. `states`: what the plugin stages need to go on behind
    it in another process, in their order; none where there are no such stages."""

    id: int
    choice: int
    token: int
    finish: Literal["stop", "length"] | None = None
    logprob: Logprob | None = None
    states: list[bytes] = []


class Step(Event, tag="step", frozen=True):
    """Everything one decode step produced. Sent without tokens about once a second by steps that
    produce none, as a sign of life."""

    tokens: list[Token]


class Failed(Event, tag="failed", frozen=True):
    """A request ended with an error. `code`: glmd.errors.Code."""

    id: int
    code: str
    message: str
    hint: str = ""
    plugin: str | None = None


class Report(Event, tag="report", frozen=True):
    """Facts for `glmd status`, sent once a second while they change, and as soon as all is quiet.
    `decodes`: calls of the backend that gave one answer its next token, two answers, three, and so
    on."""

    slots_busy: int
    devices: list[dict[str, float]] = []
    decodes: list[int] = []


AnyEvent = Loading | Ready | Broken | Prefilled | PromptLogprobs | Step | Failed | Report
