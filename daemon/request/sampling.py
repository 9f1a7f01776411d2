"""From what a client left open to the stages that run. docs/sampling.md has the rules."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from glmd.daemon.engine.stages import BUILTIN, Parameter, complete, is_greedy, is_neutral
from glmd.daemon.tokenizer.tokenizer import Tokenizer
from glmd.errors import InvalidRequest, Unsupported
from glmd.wire.sampling import PRESET_FIELDS, Sampling, Stage

# What each field of a request sets: the parameter of a stage.
_FIELDS = {
    "logit_bias": ("logit_bias", "bias"),
    "repeat_penalty": ("penalties", "repeat"),
    "frequency_penalty": ("penalties", "frequency"),
    "presence_penalty": ("penalties", "presence"),
    "repeat_last_n": ("penalties", "last_n"),
    "dry_multiplier": ("dry", "multiplier"),
    "dry_base": ("dry", "base"),
    "dry_allowed_length": ("dry", "allowed_length"),
    "dry_last_n": ("dry", "last_n"),
    "top_n_sigma": ("top_n_sigma", "n"),
    "top_k": ("top_k", "k"),
    "typical_p": ("typical", "p"),
    "top_p": ("top_p", "p"),
    "min_p": ("min_p", "p"),
    "xtc_probability": ("xtc", "probability"),
    "xtc_threshold": ("xtc", "threshold"),
    "temperature": ("temperature", "temperature"),
}

# Each preset's stages in order, with what they set beyond the fields of the request.
_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # The vendor's greedy_head; what changes logits before it still counts.
    "greedy": {"logit_bias": {}, "penalties": {}, "dry": {}, "temperature": {"temperature": 0.0}},
    # The vendor's penalty_sample_head, with the defaults of its demo.
    "penalty_sample": {
        "logit_bias": {},
        "penalties": {"repeat": 1.0, "last_n": 32},
        "top_k": {"k": 50},
        "temperature": {"temperature": 1.0},
        "top_p": {"p": 1.0, "min_keep": 5, "inclusive": False},
    },
}

# Where a repetition may begin anew: llama.cpp's breakers.
_BREAKERS = (b"\n", b":", b'"', b"*")


@dataclass(frozen=True)
class PluginSampler:
    """A plugin's sampler as the core knows it. `check` raises InvalidRequest for parameters it
    cannot have; `place` and `replaces` as in glmd.sampler."""

    check: Callable[[dict[str, Any]], None]
    place: str = "first"
    replaces: frozenset[str] = frozenset()


class Resolved(NamedTuple):
    """What runs: every stage in order, and the seed of its random numbers."""

    stages: list[Stage]
    seed: int


def resolve(
    sampling: Sampling,
    outputs: Collection[str],
    *,
    vocab: int,
    breakers: Sequence[int],
    plugins: Mapping[str, PluginSampler] = {},
) -> Resolved:
    """The stages and the seed for a request.

    `outputs`: what the model gives, of token, candidates, logits. `vocab`: length of a logits row.
    `breakers`: the ids at which the dry stage lets a repetition begin anew (`dry_breakers`).
    `plugins`: the samplers of plugins, by name.
    Raises InvalidRequest for a value out of range, fields that contradict each other or a stage
    nobody has; Unsupported when the model cannot give what the chain needs.
    """
    given = {
        field: value
        for field in sampling.__struct_fields__
        if field != "seed" and (value := getattr(sampling, field)) is not None
    }
    if not given and "logits" not in outputs:
        given["preset"] = "penalty_sample" if "candidates" in outputs else "greedy"
    named: list[Stage] = given.get("stages", [])
    _check_stages(named, plugins)
    if "stages" in given and not (named and all(stage.name in plugins for stage in named)):
        stages = _explicit(given)
    else:
        rest = {field: value for field, value in given.items() if field != "stages"}
        chain = _preset(rest) if "preset" in rest else _chain({n: {} for n in BUILTIN}, rest)
        stages = _with_samplers(chain, named, plugins, rest)
    stages = [_spelled_out(stage, breakers) for stage in stages]
    _check_ids(stages, vocab)
    _check_outputs(stages, given, outputs)
    return Resolved(stages, secrets.randbits(63) if sampling.seed is None else sampling.seed)


@lru_cache(maxsize=1)
def dry_breakers(tokenizer: Tokenizer) -> list[int]:
    """The ids whose text holds one of llama.cpp's sequence breakers."""
    return [i for i, text in enumerate(tokenizer.vocab_bytes) if any(b in text for b in _BREAKERS)]


def _check_stages(stages: Sequence[Stage], plugins: Mapping[str, PluginSampler]) -> None:
    for i, stage in enumerate(stages):
        if stage.name in plugins:
            plugins[stage.name].check(stage.params)
        elif stage.name in BUILTIN:
            _check_params(f"stages[{i}] ({stage.name})", stage)
        else:
            raise InvalidRequest(
                f"stages[{i}]: there is no sampler stage {stage.name!r}.",
                hint=f"There are {_listed([*BUILTIN, *plugins])}.",
            )


def _explicit(given: dict[str, Any]) -> list[Stage]:
    others = [field for field in given if field != "stages"]
    if others:
        raise InvalidRequest(
            f"stages cannot be given together with {_listed(others)}.",
            hint="Stages with a built-in one among them are the whole chain: put the parameters "
            "into them.",
        )
    stages: list[Stage] = given["stages"]
    return stages


def _with_samplers(
    chain: Sequence[Stage],
    samplers: Sequence[Stage],
    plugins: Mapping[str, PluginSampler],
    fields: Mapping[str, Any],
) -> list[Stage]:
    """`chain` with the samplers of plugins where they say they stand. `fields`: those that made
    it."""
    takers = {stage: s.name for s in samplers for stage in plugins[s.name].replaces}
    for field in fields:
        stage, _ = _FIELDS.get(field, ("", ""))
        if stage in takers:
            raise InvalidRequest(
                f"{field} would have no effect: {takers[stage]!r} stands in place of {stage}.",
                hint="Leave one of them out, or write out the whole chain in stages.",
            )
    kept = [stage for stage in chain if stage.name not in takers]
    last = [s for s in samplers if plugins[s.name].place == "last"]
    return [s for s in samplers if s not in last] + kept + last


def _preset(given: dict[str, Any]) -> list[Stage]:
    preset = given["preset"]
    allowed = PRESET_FIELDS[preset]
    useless = [field for field in given if field != "preset" and field not in allowed]
    if useless:
        raise InvalidRequest(
            f"{_listed(useless)} would have no effect with preset {preset!r}.",
            hint=f"With it go {_listed(sorted(allowed))}; or leave the preset out.",
        )
    fields = {field: value for field, value in given.items() if field != "preset"}
    return _chain(_PRESETS[preset], fields)


def _chain(start: Mapping[str, dict[str, Any]], fields: Mapping[str, Any]) -> list[Stage]:
    """The stages of `start` with the request's fields put in, less those that change nothing."""
    params = {name: dict(values) for name, values in start.items()}
    for field, value in fields.items():
        stage, name = _FIELDS[field]
        if field == "logit_bias":
            value = [[token, bias] for token, bias in value.items()]
        _check_value(field, BUILTIN[stage][name], value)
        params[stage][name] = value
    stages = [Stage(name, values) for name, values in params.items()]
    return [stage for stage in stages if not is_neutral(stage)]


def _spelled_out(stage: Stage, breakers: Sequence[int]) -> Stage:
    """With every parameter a built-in stage has."""
    if stage.name not in BUILTIN:
        return stage
    params = complete(stage)
    if stage.name == "dry" and "breakers" not in stage.params:
        params["breakers"] = [[token] for token in breakers]
    return Stage(stage.name, params)


def _check_params(label: str, stage: Stage) -> None:
    known = BUILTIN[stage.name]
    for name, value in stage.params.items():
        if name not in known:
            raise InvalidRequest(f"{label} has no parameter {name!r}; it has {_listed(known)}.")
        _check_value(f"{label}: {name}", known[name], value)


def _check_value(label: str, parameter: Parameter, value: Any) -> None:
    """Raises InvalidRequest that names the field, the value and what is allowed."""
    low, high = f"{parameter.low:.12g}", f"{parameter.high:.12g}"
    valid, allowed = {
        "bool": (_is_bool, "true or false"),
        "int": (_is_int, f"an integer from {low} to {high}"),
        "float": (_is_number, f"a number from {low} to {high}"),
        "list[tuple[int, float]]": (
            _is_bias,
            f"pairs of a token id and a number from {low} to {high}",
        ),
        "list[list[int]]": (_is_sequences, "lists of token ids, none of them empty"),
    }[parameter.type]
    if not valid(value, parameter):
        raise InvalidRequest(f"{label} is {value!r}, it must be {allowed}.")


def _is_bool(value: Any, parameter: Parameter) -> bool:
    return isinstance(value, bool)


def _is_int(value: Any, parameter: Parameter) -> bool:
    return type(value) is int and parameter.low <= value <= parameter.high


def _is_number(value: Any, parameter: Parameter) -> bool:
    return type(value) in {int, float} and parameter.low <= value <= parameter.high


def _is_bias(value: Any, parameter: Parameter) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, (list, tuple))
        and len(pair) == 2
        and _is_id(pair[0])
        and _is_number(pair[1], parameter)
        for pair in value
    )


def _is_sequences(value: Any, parameter: Parameter) -> bool:
    return isinstance(value, list) and all(
        isinstance(sequence, list) and sequence and all(map(_is_id, sequence)) for sequence in value
    )


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _check_ids(stages: Sequence[Stage], vocab: int) -> None:
    for stage in stages:
        if stage.name == "logit_bias":
            ids = [token for token, _ in stage.params.get("bias", [])]
        elif stage.name == "dry":
            ids = [token for sequence in stage.params["breakers"] for token in sequence]
        else:
            continue
        outside = [token for token in ids if token >= vocab]
        if outside:
            raise InvalidRequest(
                f"{stage.name} names token {outside[0]}, it must be from 0 to {vocab - 1}."
            )


def _check_outputs(
    stages: Sequence[Stage], given: Mapping[str, Any], outputs: Collection[str]
) -> None:
    if "logits" in outputs or ("token" in outputs and is_greedy(stages)):
        return
    if "candidates" in outputs and given.get("preset") == "penalty_sample":
        beyond = [field for field in ("stages", "logit_bias") if field in given]
        if not beyond:  # the device's head does all the rest
            return
        refused = _listed(beyond)
    else:
        refused = _listed(given)
    gives = "candidates of its own head" if "candidates" in outputs else "the most likely token"
    raise Unsupported(
        f"{refused} cannot be used with this model: it gives only {gives}, not logits.",
        hint="Ask for preset 'greedy', or build the model with `glmd compile`, whose lm_head gives "
        "logits.",
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
