"""What a sampler costs at ChatGLM3's vocabulary: by itself, and the others in its batch.

`python -I -m glmd.daemon.engine.bench SPEC` is what `glmd plugins bench` runs; SPEC and the answer
are JSON. It imports the plugin, so it is a process of its own.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from glmd.daemon.engine.bench_batch import BATCH, PROMPT, STOP, batch_steps
from glmd.daemon.native import _engine
from glmd.daemon.plugins.smoke import VOCAB, words
from glmd.discovery import Source, discover
from glmd.errors import Code, EngineFailed, GlmdError, NotFound
from glmd.loading import load
from glmd.plugin_stage import PluginStage
from glmd.sampler import Sampler, SamplerContext
from glmd.wire.sampling import Stage

TOKENS = 300  # that are timed
SECONDS = 2.0  # after which fewer are enough


class Spec(msgspec.Struct, frozen=True):
    """`stage`: the sampler with its parameters. `folders`: more of them with plugins."""

    stage: Stage
    folders: list[str] = []


class Cost(msgspec.Struct, frozen=True):
    """Milliseconds. `start`: to begin an answer, when one was begun before; `first_start` else.
    `token`, `slow_token`: for one token, the median and what one of twenty takes longer than.
    `step`: of a batch of `batch` answers without the sampler; `step_beside`: with it in one of
    them."""

    sampler: str
    plugin: str
    vocab: int
    batch: int
    first_start: float
    start: float
    token: float
    slow_token: float
    step: float
    step_beside: float


def bench(spec: Spec) -> Cost:
    """Raises GlmdError."""
    source, sampler = find(spec)
    starts, tokens = alone(sampler, spec.stage)
    step, step_beside = batch_steps(source, sampler, spec.stage)
    return Cost(
        sampler=sampler.name,
        plugin=source.name,
        vocab=VOCAB,
        batch=BATCH,
        first_start=starts[0],
        start=statistics.median(starts[1:]),
        token=statistics.median(tokens),
        slow_token=float(np.quantile(tokens, 0.95)),
        step=step,
        step_beside=step_beside,
    )


def find(spec: Spec) -> tuple[Source, Sampler]:
    """The plugin that has the sampler: the one of that name is asked first."""
    wanted = spec.stage.name
    sources = discover([Path(folder) for folder in spec.folders])
    for source in sorted(sources, key=lambda source: source.name != wanted):
        if source.problem and source.name != wanted:
            continue
        if source.problem:
            raise EngineFailed(source.problem, code=Code.PLUGIN_ERROR, plugin=source.name)
        try:
            samplers = load(source).samplers
        except BaseException as error:
            if source.name == wanted:
                raise EngineFailed(
                    f"The plugin {wanted} cannot be loaded: {type(error).__name__}: {error}.",
                    code=Code.PLUGIN_ERROR,
                    plugin=wanted,
                ) from error
            continue
        if wanted in samplers:
            return source, samplers[wanted]
    raise NotFound(
        f"No plugin has a sampler {wanted!r}.", hint="`glmd plugins list` shows those there are."
    )


def alone(sampler: Sampler, stage: Stage) -> tuple[list[float], list[float]]:
    """Milliseconds of each beginning of an answer, and of each token."""
    context = SamplerContext(VOCAB, frozenset({STOP}), 1, 0, len(PROMPT), words())
    starts: list[float] = []
    tokens: list[float] = []

    def begin() -> tuple[PluginStage, list[int]]:
        since = time.perf_counter()
        state = PluginStage(sampler, stage.params, context)
        starts.append(1000 * (time.perf_counter() - since))
        return state, list(PROMPT)

    for _ in range(5):
        state, ids = begin()
    random = np.random.default_rng(1)
    rows = random.normal(0.0, 2.5, (8, VOCAB)).astype(np.float32)
    begun = time.monotonic()
    for index in range(TOKENS):
        if time.monotonic() - begun > SECONDS:
            break
        row, history = rows[index % 8].copy(), np.array(ids, np.int32)
        since = time.perf_counter()
        state.apply(row, history, len(ids) - len(PROMPT))
        tokens.append(1000 * (time.perf_counter() - since))
        token = _engine.draw(row, seed=1, choice=0, index=index)
        since = time.perf_counter()
        state.accept(token)
        state.save()
        tokens[-1] += 1000 * (time.perf_counter() - since)
        ids.append(token)
        if token == STOP:
            state, ids = begin()
    return starts, tokens


class Refusal(msgspec.Struct, frozen=True):
    """Instead of a Cost: the sentence and what to do."""

    error: str
    hint: str = ""


if __name__ == "__main__":
    said = os.dup(1)
    os.dup2(2, 1)  # what the plugin prints is not the answer
    try:
        answer: Cost | Refusal = bench(msgspec.json.decode(sys.argv[1], type=Spec))
    except GlmdError as error:
        answer = Refusal(error.message, error.hint)
    os.write(said, msgspec.json.encode(answer))
    sys.stderr.flush()
    os._exit(0)
