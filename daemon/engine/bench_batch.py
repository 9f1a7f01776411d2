"""A batch of answers on a model of random numbers, with a sampler in one of them and without.

The model is one layer with ChatGLM3's 65,024 ids: what a step takes beside the sampler is none of a
real model's, the time that the sampler adds to it is.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from glmd.daemon.engine.inbox import Inbox
from glmd.daemon.engine.loop import Loop
from glmd.daemon.engine.messages import Event, Failed, Import, Step, Stop, Submit, Vocabulary
from glmd.daemon.engine.outbox import Outbox
from glmd.daemon.engine.plugins import Plugins
from glmd.daemon.native import _engine
from glmd.daemon.plugins.breadcrumb import Breadcrumb
from glmd.daemon.plugins.smoke import VOCAB, words
from glmd.discovery import Source
from glmd.errors import Code, EngineFailed
from glmd.sampler import Sampler
from glmd.wire.sampling import Stage

STEPS = 60
ROUNDS = 6  # with and without the sampler in turn, so that other programs slow both alike
SECONDS = 4.0  # after which fewer are enough
BATCH = 8
STOP = 2
PROMPT = list(range(64, 80))
DEFAULT = [Stage("top_k"), Stage("top_p"), Stage("temperature")]


def batch_steps(source: Source, sampler: Sampler, stage: Stage) -> tuple[float, float]:
    """Milliseconds of a step without the sampler, and with it in one of the answers. Raises
    GlmdError."""
    model = _model()
    chains = [DEFAULT, _beside(sampler, stage)]
    rounds: list[list[float]] = []
    begun = time.monotonic()
    while len(rounds) < ROUNDS and (not rounds or time.monotonic() - begun < SECONDS):
        rounds.append([_step(model, source, sampler.name, chain) for chain in chains])
    step, beside = np.min(rounds, axis=0).tolist()
    return step, beside


def _beside(sampler: Sampler, stage: Stage) -> list[Stage]:
    """The default chain with the sampler where it stands."""
    replaced = getattr(sampler, "replaces", ())
    kept = [own for own in DEFAULT if own.name not in replaced]
    return [*kept, stage] if getattr(sampler, "place", "first") == "last" else [stage, *kept]


class _Clock(Outbox):
    """Takes an engine's events, notes when steps came, begins the answer with the sampler again
    where it has ended, and ends the loop after STEPS."""

    def __init__(self, inbox: Inbox, again: Submit) -> None:
        ours, self._theirs = socket.socketpair()
        super().__init__(ours)
        self._inbox = inbox
        self._again = again
        self.times: list[float] = []
        self.failure: Failed | None = None

    def put(self, event: Event) -> None:
        if isinstance(event, Failed):
            self.failure = event
            self._inbox.put(Stop())
        elif isinstance(event, Step):
            self.times.append(time.perf_counter())
            if any(token.id == self._again.id and token.finish for token in event.tokens):
                self._again = msgspec.structs.replace(self._again, id=self._again.id + 1)
                self._inbox.put(self._again)
            if len(self.times) == STEPS:
                self._inbox.put(Stop())


def _step(model: _engine.Backend, source: Source, sampler: str, chain: list[Stage]) -> float:
    """Milliseconds of a step of a batch whose last answer has this chain: of the fastest tenth, the
    slowest."""
    inbox = Inbox(_engine.CancelFlag())
    plugins = Plugins(Breadcrumb.create(), 0)
    inbox.put(Vocabulary(list(words())))
    inbox.put(Import(1, source))
    for id in range(BATCH - 1):
        inbox.put(_submit(id, DEFAULT, [], {}))
    last = _submit(BATCH, chain, [STOP], {sampler: 1})
    inbox.put(last)
    clock = _Clock(inbox, last)
    Loop(model, inbox, clock, plugins, {}).run()
    if clock.failure is not None:
        raise EngineFailed(
            clock.failure.message, code=Code.PLUGIN_ERROR, plugin=clock.failure.plugin
        )
    steady = np.diff(clock.times[STEPS // 4 :])
    return float(np.quantile(steady, 0.1)) * 1000


def _submit(id: int, stages: list[Stage], stop_ids: list[int], plugins: dict[str, int]) -> Submit:
    return Submit(
        id=id,
        prompt=PROMPT,
        choices=[(0, [])],
        stages=stages,
        seed=id,
        stop_ids=stop_ids,
        max_tokens=2 * STEPS,
        plugins=plugins,
    )


def _model() -> _engine.Backend:
    hidden, heads = 64, 2
    shape = _engine.CpuShape(
        layers=1,
        hidden=hidden,
        ffn=hidden,
        heads=heads,
        kv_heads=1,
        head_dim=hidden // heads,
        vocab=VOCAB,
        norm_eps=1e-5,
        rope_base=1e4,
    )
    weights = _engine.CpuWeights(shape, "f16")
    random = np.random.default_rng(1)

    def matrix(name: str, rows: int, cols: int = hidden, kind: str = "f16") -> None:
        values = random.standard_normal((rows, cols), dtype=np.float32) * 0.3
        weights.set_matrix(f"transformer.{name}.weight", _engine.pack(values, kind), kind)

    def vector(name: str, values: Sequence[float]) -> None:
        weights.set_vector(f"transformer.{name}", np.array(values, np.float32))

    layer = "encoder.layers.0"
    qkv = hidden + 2 * (hidden // heads)
    matrix("embedding.word_embeddings", VOCAB, kind="rows_f16")
    vector(f"{layer}.input_layernorm.weight", [1.0] * hidden)
    matrix(f"{layer}.self_attention.query_key_value", qkv)
    vector(f"{layer}.self_attention.query_key_value.bias", [0.0] * qkv)
    matrix(f"{layer}.self_attention.dense", hidden)
    vector(f"{layer}.post_attention_layernorm.weight", [1.0] * hidden)
    matrix(f"{layer}.mlp.dense_h_to_4h", 2 * hidden)
    matrix(f"{layer}.mlp.dense_4h_to_h", hidden)
    vector("encoder.final_layernorm.weight", [1.0] * hidden)
    matrix("output_layer", VOCAB)
    return _engine.CpuBackend(weights, slots=BATCH, max_seq=len(PROMPT) + 2 * STEPS + 1)
