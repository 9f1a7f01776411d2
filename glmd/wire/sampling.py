"""How a client asks for sampling. A field left out is unspecified; the daemon resolves it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(ge=0.0, le=1e6)]
Penalty = Annotated[float, msgspec.Meta(ge=-1e3, le=1e3)]
Window = Annotated[int, msgspec.Meta(ge=-1, le=1 << 20)]  # tokens looked back; -1: the context
Seed = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


# The fields that have an effect beside each preset; the seed goes with both.
PRESET_FIELDS = {
    "greedy": {
        "logit_bias",
        "repeat_penalty",
        "frequency_penalty",
        "presence_penalty",
        "repeat_last_n",
        "dry_multiplier",
        "dry_base",
        "dry_allowed_length",
        "dry_last_n",
    },
    "penalty_sample": {"logit_bias", "repeat_penalty", "repeat_last_n", "temperature", "top_p"},
}


class Stage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of the sampler chain: a built-in stage or a plugin's sampler."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    params: dict[str, Any] = {}


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """Sampling of one request. The names are llama.cpp's; docs/sampling.md has the defaults.

    `stages` with a built-in stage among them, or without any, are the whole chain; the single
    parameters may then not be given as well. Samplers of plugins alone are added to the chain that
    the rest describes. `preset` is one of the two modes of the vendor's demo.
    """

    preset: Literal["greedy", "penalty_sample"] | None = None
    seed: Seed | None = None
    temperature: Positive | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] | None = None
    top_p: Probability | None = None
    min_p: Probability | None = None
    typical_p: Probability | None = None
    top_n_sigma: Positive | None = None
    xtc_probability: Probability | None = None
    xtc_threshold: Probability | None = None
    repeat_penalty: Annotated[float, msgspec.Meta(gt=0.0, le=1e3)] | None = None
    repeat_last_n: Window | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    dry_multiplier: Positive | None = None
    dry_base: Annotated[float, msgspec.Meta(ge=1.0, le=1e3)] | None = None
    dry_allowed_length: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] | None = None
    dry_last_n: Window | None = None
    logit_bias: Annotated[dict[int, Penalty], msgspec.Meta(max_length=1024)] | None = None
    stages: Annotated[list[Stage], msgspec.Meta(max_length=32)] | None = None
