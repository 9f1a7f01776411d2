"""A sampler's first run, on made-up logits: in the plugin host, before any request may name it."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmd.errors import InvalidRequest
from glmd.plugin_stage import BUDGET, PluginStage
from glmd.sampler import Sampler, SamplerContext

VOCAB = 65024  # ChatGLM3's rows, so that the time a token takes is the real one
TOKENS = 4

Row = NDArray[np.float32]


def smoke_run(sampler: Sampler, schema: dict[str, Any], plugin: str) -> str:
    """Sample a few tokens; why that was not possible, "" when it was. `schema`: of Params; what has
    no default there is tried with its first example.

    Raises GlmdError and ValueError for what the contract forbids: logits that are none, a token
    that takes too long, two runs of one seed that differ, a state that `load` does not bring back.
    """
    params, missing = _examples(schema)
    if missing:
        return f"{', '.join(missing)} has neither a default nor an example in its msgspec.Meta"
    try:
        first, times = _run(sampler, plugin, params)
    except InvalidRequest as error:
        return f"it refuses what it would be tried with: {error.message.rstrip('.')}"
    if min(times) > BUDGET:
        raise ValueError(
            f"the sampler {sampler.name!r} takes {min(times):.2f} s for one token; "
            f"{BUDGET} s are allowed"
        )
    if not getattr(sampler, "replayable", True):
        return ""
    for resume, what in (
        (None, "two runs with one seed differ"),
        (2, "load() differs from save()"),
    ):
        again, _ = _run(sampler, plugin, params, resume)
        if any(not np.array_equal(a, b) for a, b in zip(first, again, strict=True)):
            raise ValueError(
                f"the sampler {sampler.name!r} cannot be replayed: {what}; "
                "say replayable = False if that is so"
            )
    return ""


def _examples(schema: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A value for each parameter that has no default, and the names of those without an example."""
    own = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    given = {name: own["properties"][name].get("examples") for name in own.get("required", ())}
    found = {name: examples[0] for name, examples in given.items() if examples}
    return found, [name for name in given if name not in found]


def _run(
    sampler: Sampler, plugin: str, params: dict[str, Any], resume: int | None = None
) -> tuple[list[Row], list[float]]:
    """The logits behind the sampler, and its seconds, for each token. At token `resume` the state
    is put into a new one, as a replay does it."""
    prompt = np.arange(64, 80, dtype=np.int32)
    context = SamplerContext(
        vocab=VOCAB,
        stop_ids=frozenset({2}),
        seed=1,
        choice=0,
        prompt_length=len(prompt),
        vocab_bytes=words(),
    )
    stage = PluginStage(sampler, params, context, plugin=plugin)
    history, rows, times, state = prompt, [], [], b""
    for index in range(TOKENS):
        if index == resume and stage.saves:
            stage = PluginStage(sampler, params, context, plugin=plugin)
            stage.load(state)
        row = np.random.default_rng(index).normal(0.0, 3.0, VOCAB).astype(np.float32)
        start = time.perf_counter()
        stage.apply(row, history, index)
        times.append(time.perf_counter() - start)
        token = int(row.argmax())
        stage.accept(token)
        state = stage.save()
        history = np.append(history, np.int32(token))
        rows.append(row)
    return rows, times


@functools.cache
def words() -> Sequence[bytes]:
    """A table as a tokenizer has one: every byte, then words of letters."""
    letters = b"etaoinshrdlucmfw"
    words = (
        bytes([letters[i & 15], letters[i >> 4 & 15], letters[i >> 8 & 15], letters[i >> 12]])
        for i in range(VOCAB - 512)
    )
    return (b"", b"", b"", *(bytes([i]) for i in range(256)), *words)
