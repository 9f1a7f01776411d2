"""What a client left open, resolved: defaults, presets, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from glmd.daemon.engine.stages import BUILTIN, Parameter, complete, is_greedy
from glmd.daemon.request.sampling import PluginSampler, Resolved, resolve
from glmd.errors import Code, InvalidRequest, Unsupported
from glmd.wire.sampling import Sampling, Stage

LOGITS = ["token", "logits"]
BREAKERS = [13, 31]


def resolved(
    sampling: Sampling | None = None, outputs: list[str] = LOGITS, **more: Any
) -> Resolved:
    return resolve(sampling or Sampling(), outputs, vocab=1000, breakers=BREAKERS, **more)


def stages(sampling: Sampling | None = None, **more: Any) -> dict[str, dict[str, Any]]:
    return {stage.name: stage.params for stage in resolved(sampling, **more).stages}


def test_the_defaults_are_chatglm3s() -> None:
    assert stages() == {
        "top_k": {"k": 50},
        "top_p": {"p": 0.8, "min_keep": 0, "inclusive": True},
        "temperature": {"temperature": 0.8},
    }


def test_stages_come_in_the_default_order_with_every_parameter() -> None:
    found = resolved(
        Sampling(
            temperature=0.5,
            xtc_probability=0.1,
            min_p=0.1,
            top_p=0.7,
            typical_p=0.9,
            top_k=7,
            top_n_sigma=1.0,
            dry_multiplier=0.8,
            repeat_penalty=1.2,
            logit_bias={5: -3.0},
        )
    ).stages
    assert [stage.name for stage in found] == list(BUILTIN)
    assert all(list(stage.params) == list(BUILTIN[stage.name]) for stage in found)


@pytest.mark.parametrize(
    ("field", "value", "stage", "parameter"),
    [
        ("repeat_penalty", 1.5, "penalties", "repeat"),
        ("frequency_penalty", 0.5, "penalties", "frequency"),
        ("presence_penalty", -0.5, "penalties", "presence"),
        ("dry_multiplier", 0.7, "dry", "multiplier"),
        ("top_n_sigma", 1.5, "top_n_sigma", "n"),
        ("top_k", 9, "top_k", "k"),
        ("typical_p", 0.4, "typical", "p"),
        ("top_p", 0.3, "top_p", "p"),
        ("min_p", 0.2, "min_p", "p"),
        ("xtc_probability", 0.3, "xtc", "probability"),
        ("temperature", 1.3, "temperature", "temperature"),
    ],
)
def test_each_field_reaches_its_parameter(
    field: str, value: float, stage: str, parameter: str
) -> None:
    assert stages(Sampling(**{field: value}))[stage][parameter] == value


def test_fields_that_only_qualify_another() -> None:
    assert stages(Sampling(repeat_last_n=-1, repeat_penalty=1.1))["penalties"]["last_n"] == -1
    dry = stages(Sampling(dry_multiplier=1.0, dry_base=2.0, dry_allowed_length=4, dry_last_n=9))[
        "dry"
    ]
    assert dry == {
        "multiplier": 1.0,
        "base": 2.0,
        "allowed_length": 4,
        "last_n": 9,
        "breakers": [[13], [31]],
    }
    xtc = stages(Sampling(xtc_probability=0.5, xtc_threshold=0.2))["xtc"]
    assert xtc == {"probability": 0.5, "threshold": 0.2, "min_keep": 0}
    assert stages(Sampling(logit_bias={5: -3.0, 6: 1.0}))["logit_bias"] == {
        "bias": [[5, -3.0], [6, 1.0]]
    }
    assert stages(Sampling(repeat_last_n=-1, dry_base=2.0)) == stages()


@pytest.mark.parametrize(
    ("sampling", "gone"),
    [
        (Sampling(top_k=0), "top_k"),
        (Sampling(top_p=1.0), "top_p"),
        (Sampling(temperature=1.0), "temperature"),
        (Sampling(repeat_penalty=2.0, repeat_last_n=0), "penalties"),
        (Sampling(dry_multiplier=1.0, dry_last_n=0), "dry"),
        (Sampling(xtc_probability=1.0, xtc_threshold=0.6), "xtc"),
        (Sampling(logit_bias={}), "logit_bias"),
    ],
)
def test_stages_that_change_nothing_are_left_out(sampling: Sampling, gone: str) -> None:
    assert gone not in stages(sampling)


# -- seeds ----------------------------------------------------------------------------------------


def test_a_seed_is_kept_and_one_is_made() -> None:
    assert resolved(Sampling(seed=7)).seed == 7
    seeds = {resolved().seed for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed < 1 << 63 for seed in seeds)  # what a client may send back
    assert max(seeds) >= 1 << 53


# -- presets --------------------------------------------------------------------------------------


def test_greedy() -> None:
    found = resolved(Sampling(preset="greedy", seed=1))
    assert found.stages == [Stage("temperature", {"temperature": 0.0})]
    assert is_greedy(found.stages)


def test_greedy_takes_what_changes_logits() -> None:
    found = stages(Sampling(preset="greedy", repeat_penalty=1.2, logit_bias={3: 1.0}))
    assert list(found) == ["logit_bias", "penalties", "temperature"]
    assert found["temperature"] == {"temperature": 0.0}


def test_penalty_sample_is_the_vendors_head() -> None:
    """Its demo's defaults: no penalty, temperature 1, top_p 1, the last 32 ids."""
    top_p = {"p": 1.0, "min_keep": 5, "inclusive": False}
    assert stages(Sampling(preset="penalty_sample")) == {"top_k": {"k": 50}, "top_p": top_p}
    full = resolved(
        Sampling(preset="penalty_sample", top_p=0.7, temperature=0.9, repeat_penalty=1.2)
    )
    assert full.stages == [
        Stage("penalties", {"repeat": 1.2, "frequency": 0.0, "presence": 0.0, "last_n": 32}),
        Stage("top_k", {"k": 50}),
        Stage("temperature", {"temperature": 0.9}),
        Stage("top_p", top_p | {"p": 0.7}),
    ]


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        (Sampling(preset="greedy", temperature=0.5), "temperature"),
        (Sampling(preset="greedy", top_p=0.5), "top_p"),
        (Sampling(preset="penalty_sample", top_k=10), "top_k"),
        (Sampling(preset="penalty_sample", min_p=0.1), "min_p"),
    ],
)
def test_fields_a_preset_would_ignore_are_refused(sampling: Sampling, field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{field} would have no effect with preset"):
        resolved(sampling)


# -- explicit chains ------------------------------------------------------------------------------


def test_explicit_stages_are_the_whole_chain_in_their_order() -> None:
    given = [Stage("temperature", {"temperature": 2}), Stage("top_k"), Stage("top_k", {"k": 0})]
    assert resolved(Sampling(stages=given)).stages == [
        Stage("temperature", {"temperature": 2}),
        Stage("top_k", {"k": 50}),
        Stage("top_k", {"k": 0}),
    ]
    assert resolved(Sampling(stages=[])).stages == []


def test_an_explicit_dry_may_name_its_breakers() -> None:
    def breakers(**params: Any) -> Any:
        found = resolved(Sampling(stages=[Stage("dry", {"multiplier": 1.0, **params})])).stages
        return found[0].params["breakers"]

    assert breakers() == [[13], [31]]
    assert breakers(breakers=[]) == []
    assert breakers(breakers=[[1, 2]]) == [[1, 2]]


@pytest.mark.parametrize(
    ("sampling", "sentence"),
    [
        (Sampling(stages=[], top_p=0.5), "stages cannot be given together with top_p"),
        (Sampling(stages=[], preset="greedy"), "stages cannot be given together with preset"),
        (Sampling(stages=[Stage("topk")]), r"stages\[0\]: there is no sampler stage 'topk'"),
        (
            Sampling(stages=[Stage("top_k"), Stage("top_p", {"q": 1})]),
            r"stages\[1\] \(top_p\) has no parameter 'q'; it has p, min_keep, inclusive",
        ),
        (
            Sampling(stages=[Stage("top_p", {"p": 1.5})]),
            r"stages\[0\] \(top_p\): p is 1.5, it must be a number from 0 to 1",
        ),
        (
            Sampling(stages=[Stage("top_k", {"k": 2.5})]),
            "k is 2.5, it must be an integer from 0 to 1048576",
        ),
        (Sampling(stages=[Stage("top_k", {"k": True})]), "k is True, it must be an integer"),
        (Sampling(stages=[Stage("top_p", {"p": "x"})]), "p is 'x', it must be a number"),
        (
            Sampling(stages=[Stage("top_p", {"inclusive": 0})]),
            "inclusive is 0, it must be true or false",
        ),
        (
            Sampling(stages=[Stage("logit_bias", {"bias": {"5": 1.0}})]),
            "it must be pairs of a token id and a number from -1000 to 1000",
        ),
        (
            Sampling(stages=[Stage("dry", {"breakers": [[]]})]),
            "it must be lists of token ids, none of them empty",
        ),
        (
            Sampling(stages=[Stage("dry", {"breakers": [[1000]]})]),
            "dry names token 1000, it must be from 0 to 999",
        ),
        (Sampling(logit_bias={1000: 1.0}), "logit_bias names token 1000, it must be from 0 to 999"),
        (Sampling(logit_bias={-1: 1.0}), "logit_bias is .*, it must be pairs of a token id"),
        (Sampling(top_p=1.5), "top_p is 1.5, it must be a number from 0 to 1"),
        (Sampling(top_p=float("nan")), "top_p is nan, it must be a number from 0 to 1"),
        (
            Sampling(repeat_penalty=1e-9),
            "repeat_penalty is 1e-09, it must be a number from 0.001 to 1000",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_field_value_and_range(
    sampling: Sampling, sentence: str
) -> None:
    with pytest.raises(InvalidRequest, match=sentence) as caught:
        resolved(sampling)
    assert caught.value.code is Code.INVALID_REQUEST


# -- samplers of plugins --------------------------------------------------------------------------

FIRST = PluginSampler(lambda params: None)
LAST = PluginSampler(lambda params: None, "last", frozenset({"top_k", "top_p"}))
COOL = PluginSampler(lambda params: None, "last", frozenset({"temperature"}))
PLUGINS = {"mirror": FIRST, "lens": LAST, "cool": COOL}


def names(**fields: Any) -> list[str]:
    return [stage.name for stage in resolved(Sampling(**fields), plugins=PLUGINS).stages]


def test_plugin_stages_are_checked_by_their_plugin() -> None:
    checked: list[dict[str, Any]] = []
    given = [Stage("mirror", {"depth": 3}), Stage("top_k")]
    plugins = {"mirror": PluginSampler(checked.append)}
    found = resolved(Sampling(stages=given), plugins=plugins)
    assert checked == [{"depth": 3}]
    assert found.stages[0] == given[0]

    def refuse(params: dict[str, Any]) -> None:
        raise InvalidRequest("depth is 3, it must be even.")

    for stages in (given, given[:1]):
        with pytest.raises(InvalidRequest, match="must be even"):
            resolved(Sampling(stages=stages), plugins={"mirror": PluginSampler(refuse)})


def test_samplers_alone_are_added_to_the_default_chain_where_they_belong() -> None:
    assert names() == ["top_k", "top_p", "temperature"]
    assert names(stages=[Stage("mirror")]) == ["mirror", "top_k", "top_p", "temperature"]
    assert names(stages=[Stage("lens")]) == ["temperature", "lens"]
    assert names(stages=[Stage("lens"), Stage("cool"), Stage("mirror")]) == [
        "mirror",
        "lens",
        "cool",
    ]


def test_single_parameters_and_presets_go_with_samplers() -> None:
    found = resolved(Sampling(stages=[Stage("mirror", {"x": 1})], temperature=0.3), plugins=PLUGINS)
    assert found.stages[0] == Stage("mirror", {"x": 1})
    assert found.stages[-1] == Stage("temperature", {"temperature": 0.3})
    greedy = resolved(Sampling(stages=[Stage("mirror")], preset="greedy"), plugins=PLUGINS)
    assert [stage.name for stage in greedy.stages] == ["mirror", "temperature"]
    assert not is_greedy(greedy.stages)


def test_a_built_in_stage_among_them_makes_a_list_the_whole_chain() -> None:
    assert names(stages=[Stage("top_k"), Stage("mirror")]) == ["top_k", "mirror"]
    with pytest.raises(InvalidRequest, match="together with temperature") as caught:
        names(stages=[Stage("top_k"), Stage("mirror")], temperature=0.5)
    assert "whole chain" in caught.value.hint


def test_a_parameter_of_a_stage_that_a_sampler_replaces_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="top_p would have no effect: 'lens' stands in place"):
        names(stages=[Stage("lens")], top_p=0.5)
    assert names(stages=[Stage("lens")], temperature=0.5) == ["temperature", "lens"]


def test_samplers_need_logits_whatever_the_preset() -> None:
    for preset in (None, "greedy", "penalty_sample"):
        with pytest.raises(Unsupported, match="stages cannot be used with this model"):
            resolve(
                Sampling(stages=[Stage("mirror")], preset=preset),
                ["token", "candidates"],
                vocab=1000,
                breakers=[],
                plugins=PLUGINS,
            )


# -- what the model can give ----------------------------------------------------------------------


def test_a_model_without_logits_is_greedy_unless_asked() -> None:
    assert is_greedy(resolved(outputs=["token"]).stages)
    assert resolved(Sampling(seed=5), outputs=["token"]).seed == 5
    for sampling in (Sampling(preset="greedy"), Sampling(temperature=0.0), Sampling(top_k=1)):
        assert is_greedy(resolved(sampling, outputs=["token"]).stages)


@pytest.mark.parametrize(
    ("sampling", "fields"),
    [
        (Sampling(temperature=0.7, top_p=0.9), "temperature, top_p"),
        (Sampling(preset="greedy", repeat_penalty=1.2), "repeat_penalty"),
        (Sampling(preset="penalty_sample"), "preset"),
        (Sampling(stages=[Stage("top_k")]), "stages"),
        (Sampling(stages=[]), "stages"),
    ],
)
def test_sampling_on_a_model_without_logits_is_unsupported(sampling: Sampling, fields: str) -> None:
    with pytest.raises(Unsupported, match=f"{fields}.* cannot be used with this model") as caught:
        resolved(sampling, outputs=["token"])
    assert caught.value.code is Code.UNSUPPORTED
    assert "glmd compile" in caught.value.hint


def test_a_model_with_its_own_head_samples_with_it() -> None:
    outputs = ["token", "candidates"]
    own = resolved(outputs=outputs).stages
    assert own == resolved(Sampling(preset="penalty_sample"), outputs=outputs).stages
    assert is_greedy(resolved(Sampling(preset="greedy"), outputs=outputs).stages)
    for sampling in (
        Sampling(top_k=5),
        Sampling(preset="penalty_sample", logit_bias={1: 1.0}),
    ):
        with pytest.raises(Unsupported):
            resolved(sampling, outputs=outputs)


@pytest.mark.parametrize(
    ("chain", "greedy"),
    [
        ([Stage("temperature", {"temperature": 0.0})], True),
        ([Stage("top_k", {"k": 1}), Stage("xtc", {"probability": 1.0})], True),
        ([Stage("top_p"), Stage("min_p", {"p": 0.1}), Stage("top_k", {"k": 1})], True),
        ([Stage("penalties"), Stage("temperature", {"temperature": 0.0})], True),
        ([Stage("penalties", {"repeat": 1.1}), Stage("top_k", {"k": 1})], False),
        ([Stage("logit_bias", {"bias": [[1, 1.0]]}), Stage("top_k", {"k": 1})], False),
        ([Stage("typical", {"p": 0.5}), Stage("top_k", {"k": 1})], False),
        ([Stage("xtc", {"probability": 0.5}), Stage("top_k", {"k": 1})], False),
        ([Stage("mirror"), Stage("top_k", {"k": 1})], False),
        ([Stage("top_k", {"k": 1}), Stage("mirror")], False),
        ([Stage("top_k", {"k": 2}), Stage("temperature", {"temperature": 0.5})], False),
        ([], False),
    ],
)
def test_which_chains_are_greedy(chain: list[Stage], greedy: bool) -> None:
    assert is_greedy(chain) is greedy


def test_every_default_is_within_its_bounds() -> None:
    for stage, parameters in BUILTIN.items():
        assert list(complete(Stage(stage))) == list(parameters)
        for parameter in parameters.values():
            assert isinstance(parameter, Parameter)
            if isinstance(parameter.default, (int, float)) and parameter.type != "bool":
                assert parameter.low <= parameter.default <= parameter.high
