"""The settings of an answer: flags of `ask` and `chat`, and what `/set` changes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

from glmd.frontends.cli.samplers import SamplerType, written

F = TypeVar("F", bound=Callable[..., Any])


class Setting(NamedTuple):
    """`name`: keyword argument of Client.chat; `flag`: on the command line, and in `/set` without
    the dashes."""

    name: str
    flag: str
    type: click.ParamType[Any]
    help: str
    repeated: bool = False
    metavar: str | None = None


class _Bias(click.ParamType):  # type: ignore[type-arg]
    """TOKEN:BIAS"""

    name = "token:bias"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, float]:
        token, _, bias = str(value).partition(":")
        try:
            return int(token), float(bias)
        except ValueError:
            self.fail(f"{value!r} is not TOKEN:BIAS, as in 42:-5.", param, ctx)


_PROBABILITY = click.FloatRange(0, 1)
_POSITIVE = click.FloatRange(0)
_COUNT = click.IntRange(0)
_WINDOW = click.IntRange(-1)
_PENALTY = click.FloatRange(-1000, 1000)

SETTINGS = (
    Setting(
        "preset",
        "--generation-mode",
        click.Choice(["greedy", "penalty_sample"]),
        "One of the two modes of the vendor's demos.",
        metavar="greedy|penalty_sample",
    ),
    Setting("max_tokens", "--max-new-tokens", _COUNT, "Length of the answer at most."),
    Setting("seed", "--seed", _COUNT, "The same seed gives the same answer."),
    Setting("temperature", "--temperature", _POSITIVE, "0 always takes the likeliest token."),
    Setting("top_k", "--top-k", _COUNT, "Keep the K likeliest tokens; 0 keeps all."),
    Setting("top_p", "--top-p", _PROBABILITY, "Keep the likeliest tokens up to this probability."),
    Setting("min_p", "--min-p", _PROBABILITY, "Drop tokens below this part of the likeliest one."),
    Setting("typical_p", "--typical-p", _PROBABILITY, "Locally typical sampling."),
    Setting("top_n_sigma", "--top-n-sigma", _POSITIVE, "Keep logits within N standard deviations."),
    Setting(
        "xtc_probability", "--xtc-probability", _PROBABILITY, "Exclude top choices, how often."
    ),
    Setting("xtc_threshold", "--xtc-threshold", _PROBABILITY, "Exclude top choices, from where."),
    Setting(
        "repeat_penalty",
        "--repeat-penalty",
        click.FloatRange(0.001, 1000),
        "Penalty for repeating; 1 is none.",
    ),
    Setting(
        "repeat_last_n", "--repeat-last-n", _WINDOW, "Tokens the penalties look back; -1: all."
    ),
    Setting("frequency_penalty", "--frequency-penalty", _PENALTY, "Penalty for each repetition."),
    Setting("presence_penalty", "--presence-penalty", _PENALTY, "Penalty for having been there."),
    Setting("dry_multiplier", "--dry-multiplier", _POSITIVE, "Penalty for repeated sequences."),
    Setting("dry_base", "--dry-base", click.FloatRange(1), "Its growth with their length."),
    Setting("dry_allowed_length", "--dry-allowed-length", _COUNT, "Their length without penalty."),
    Setting("dry_last_n", "--dry-last-n", _WINDOW, "Tokens it looks back; -1: all."),
    Setting("logit_bias", "--logit-bias", _Bias(), "Add to a token's logit.", repeated=True),
    Setting(
        "sampling",
        "--sampler",
        SamplerType(),
        "Add a plugin's sampler, or with built-in stages write out the chain.",
        repeated=True,
        metavar="NAME[:KEY=VALUE,…]",
    ),
    Setting("stop", "--stop", click.STRING, "End the answer before this text.", repeated=True),
)

_ANY_PRESET = {"preset", "seed", "max_tokens", "stop", "sampling"}  # go with every one


def sampling_options(function: F) -> F:
    """Adds a flag for every setting; the command gets those that were given as one dict."""

    @functools.wraps(function)
    def command(**given: Any) -> Any:
        values = {setting.name: given.pop(setting.name) for setting in SETTINGS}
        return function(sampling=chosen(values), **given)

    for setting in reversed(SETTINGS):
        command = click.option(
            setting.flag,
            setting.name,
            type=setting.type,
            metavar=setting.metavar,
            multiple=setting.repeated,
            help=setting.help,
        )(command)
    return command  # type: ignore[return-value]


def chosen(values: dict[str, Any]) -> dict[str, Any]:
    """Of values by setting name those that say something, as Client.chat takes them."""
    said = {name: value for name, value in values.items() if value not in (None, ())}
    if "logit_bias" in said:
        said["logit_bias"] = dict(said["logit_bias"])
    for name in ("sampling", "stop"):
        if name in said:
            said[name] = list(said[name])
    return said


def useless(values: dict[str, Any], setting: Setting) -> str | None:
    """Why `setting`, one of these values, has or leaves something without effect: the daemon will
    refuse them together. None where it will not."""
    from glmd.wire.sampling import PRESET_FIELDS

    preset = values.get("preset")
    if preset is None:
        return None
    beside = {s.name: s for s in SETTINGS if s.name in _ANY_PRESET | PRESET_FIELDS[preset]}
    idle = [s for s in SETTINGS if s.name in values and s.name not in beside]
    if not idle or setting.name not in {"preset", *(s.name for s in idle)}:
        return None
    return (
        f"{', '.join(map(word, idle))} would have no effect with generation-mode {preset}. "
        f"With it go: {', '.join(word(s) for s in beside.values() if s.name != 'preset')}."
    )


def shown(setting: Setting, value: Any) -> str:
    """A value as `chosen` gives it, for a person."""
    return " ".join(map(written, value)) if setting.name == "sampling" else f"{value}"


def word(setting: Setting) -> str:
    """What `/set` calls it."""
    return setting.flag.lstrip("-")
