"""Answers that samplers of plugins shape, taken up by another engine behind any of their tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import tokenizers
from support.engine import EngineChild, engine_child, prompt, submit

from glmd.daemon.engine.messages import Import, Vocabulary
from glmd.discovery import discover
from glmd.wire.sampling import Stage

LENGTH = 40
ARRAY = {"type": "array", "minItems": 4, "maxItems": 12, "items": {"type": "integer"}}
WARM = Stage("temperature", {"temperature": 1.5})

CHAINS: dict[str, list[Stage]] = {
    "mirostat": [WARM, Stage("mirostat", {"tau": 4.0, "eta": 0.5})],
    "dynatemp": [Stage("dynatemp", {"temperature": 1.5, "range": 1.0})],
    "no_repeat_ngram": [Stage("no_repeat_ngram", {"n": 1}), WARM],
    "quote": [Stage("quote", {"length": 1}), WARM],
    "choices": [Stage("choices", {"of": ["abcdefgh" * 3, "abcdefgx" * 3]})],
    "regex": [Stage("regex", {"pattern": "[a-z ]{30,60}"}), WARM],
    "json_schema": [Stage("json_schema", {"schema": ARRAY}), WARM],
    "several": [Stage("quote"), Stage("no_repeat_ngram", {"n": 2}), WARM, Stage("mirostat")],
}


def ready(child: EngineChild) -> dict[str, int]:
    """The plugins that ship, imported; their numbers."""
    child.ready()
    numbers = {}
    child.send(Vocabulary(list(tokenizers.nano().vocab_bytes[:320])))
    for number, source in enumerate(discover(safe_mode=True), start=1):
        if source.origin == "built-in":
            child.send(Import(number, source))
            numbers[source.name] = number
    return numbers


def request(id: int, chain: list[Stage], numbers: dict[str, int], **more: Any) -> Any:
    plugins = {stage.name: numbers[stage.name] for stage in chain if stage.name in numbers}
    fields = {"stages": chain, "plugins": plugins, "seed": 5, "stop_ids": [2], **more}
    return submit(id, prompt(60), LENGTH, **fields)


def test_another_engine_goes_on_as_the_first_would_have(tiny_model: Path) -> None:
    """Each answer at four places: the tokens before are forced, the state is what came with the
    last of them."""
    whole = {}
    with engine_child(tiny_model, slots=8) as child:
        numbers = ready(child)
        child.send(*(request(i, chain, numbers) for i, chain in enumerate(CHAINS.values())))
        for (id, _), tokens in child.answers(*range(len(CHAINS))).items():
            whole[id] = tokens
    assert all(len(tokens) > 8 for tokens in whole.values())
    with engine_child(tiny_model, slots=8) as other:
        numbers = ready(other)
        for part in (0.1, 0.4, 0.7, 0.9):
            for id, (name, chain) in enumerate(CHAINS.items()):
                tokens = whole[id]
                cut = max(int(part * len(tokens)), 1)
                forced = [token.token for token in tokens[:cut]]
                states = {0: tokens[cut - 1].states} if tokens[cut - 1].states else {}
                assert bool(states) == any(stage.name == "mirostat" for stage in chain)
                number = 100 * cut + id
                again = request(number, chain, numbers, choices=[(0, forced)], states=states)
                rest = other.run(again)[number, 0]
                assert forced + rest == [token.token for token in tokens], (name, cut)


@pytest.mark.parametrize("name", ["mirostat", "several"])
def test_without_what_was_saved_it_would_be_another_answer(tiny_model: Path, name: str) -> None:
    """So the test above tests something: mirostat's bound is not where it was."""
    with engine_child(tiny_model, slots=2) as child:
        numbers = ready(child)
        chain = CHAINS[name]
        tokens = child.run(request(1, chain, numbers))[1, 0]
        again = request(2, chain, numbers, choices=[(0, tokens[:20])])
        assert tokens[:20] + child.run(again)[2, 0] != tokens
