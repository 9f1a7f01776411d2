"""The built-in stages of a sampler chain: parameters, defaults and ranges, in the default order.

The C++ sampler has the same table; this one lets the core refuse a request, with a sentence about
the field, without loading the compiled engine. docs/sampling.md says what the stages do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from glmd.wire.sampling import Stage

_BIG = 1 << 20


@dataclass(frozen=True)
class Parameter:
    """`type` as in `_engine.stage_parameters()`. `low` and `high`, both allowed, bound numbers and
    the values of a token bias."""

    type: str
    default: Any
    low: float = 0.0
    high: float = 0.0


_MIN_KEEP = Parameter("int", 0, 0, _BIG)

BUILTIN: dict[str, dict[str, Parameter]] = {
    "logit_bias": {"bias": Parameter("list[tuple[int, float]]", [], -1e3, 1e3)},
    "penalties": {
        "repeat": Parameter("float", 1.0, 1e-3, 1e3),
        "frequency": Parameter("float", 0.0, -1e3, 1e3),
        "presence": Parameter("float", 0.0, -1e3, 1e3),
        "last_n": Parameter("int", 64, -1, _BIG),
    },
    "dry": {
        "multiplier": Parameter("float", 0.0, 0.0, 1e6),
        "base": Parameter("float", 1.75, 1.0, 1e3),
        "allowed_length": Parameter("int", 2, 0, _BIG),
        "last_n": Parameter("int", 64, -1, _BIG),
        "breakers": Parameter("list[list[int]]", []),
    },
    "top_n_sigma": {"n": Parameter("float", 0.0, 0.0, 1e6)},
    "top_k": {"k": Parameter("int", 50, 0, _BIG)},
    "typical": {"p": Parameter("float", 1.0, 0.0, 1.0), "min_keep": _MIN_KEEP},
    "top_p": {
        "p": Parameter("float", 0.8, 0.0, 1.0),
        "min_keep": _MIN_KEEP,
        "inclusive": Parameter("bool", True),
    },
    "min_p": {"p": Parameter("float", 0.0, 0.0, 1.0), "min_keep": _MIN_KEEP},
    "xtc": {
        "probability": Parameter("float", 0.0, 0.0, 1.0),
        "threshold": Parameter("float", 0.1, 0.0, 1.0),
        "min_keep": _MIN_KEEP,
    },
    "temperature": {"temperature": Parameter("float", 0.8, 0.0, 1e6)},
}

# Parameters with which a stage changes nothing.
_NEUTRAL: dict[str, Callable[[dict[str, Any]], bool]] = {
    "logit_bias": lambda p: not p["bias"],
    "penalties": lambda p: (
        p["last_n"] == 0 or (p["repeat"], p["frequency"], p["presence"]) == (1.0, 0.0, 0.0)
    ),
    "dry": lambda p: p["multiplier"] == 0.0 or p["last_n"] == 0,
    "top_n_sigma": lambda p: p["n"] == 0.0,
    "top_k": lambda p: p["k"] == 0,
    "typical": lambda p: p["p"] == 1.0,
    "top_p": lambda p: p["p"] == 1.0 and p["inclusive"],
    "min_p": lambda p: p["p"] == 0.0,
    "xtc": lambda p: p["probability"] == 0.0 or p["threshold"] > 0.5,
    "temperature": lambda p: p["temperature"] == 1.0,
}

# Stages that never take the greatest logit out of play nor put another token before it.
_KEEPS_ARGMAX = frozenset({"top_n_sigma", "top_k", "top_p", "min_p", "temperature"})


def complete(stage: Stage) -> dict[str, Any]:
    """The parameters of a built-in stage with the defaults filled in."""
    defaults = {name: parameter.default for name, parameter in BUILTIN[stage.name].items()}
    return defaults | stage.params


def is_neutral(stage: Stage) -> bool:
    """Whether a built-in stage changes nothing."""
    return _NEUTRAL[stage.name](complete(stage))


def is_greedy(stages: Sequence[Stage]) -> bool:
    """Whether the chain always ends in the most likely token of the model, so that logits are not
    needed."""
    for stage in stages:
        if stage.name not in BUILTIN:
            return False
        if is_neutral(stage):
            continue
        if stage.name not in _KEEPS_ARGMAX:
            return False
        params = complete(stage)
        if params.get("temperature") == 0.0 or params.get("k") == 1:
            return all(later.name in BUILTIN for later in stages)
    return False


def greatest_needed(stages: Sequence[Stage]) -> int:
    """How many of the greatest logits, with all that equal the least of these, decide what the
    chain does; 0 where others may. It is what the first stage that does anything leaves in play."""
    for stage in stages:
        if stage.name not in BUILTIN:
            return 0
        if is_neutral(stage):
            continue
        params = complete(stage)
        if stage.name == "top_k":
            return int(params["k"])
        return int(params.get("temperature") == 0.0)
    return 0
