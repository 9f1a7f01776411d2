"""The corpus: the same for a seed, and disjoint from what is held out."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re

import pytest

from glmd.compiler.nano import cases as held_out
from glmd.compiler.nano.corpus import FACTS, LANGUAGES, Library, dialogues, fact_slots
from glmd.compiler.nano.dialogue import Dialogue, Turn, parse_call
from glmd.compiler.nano.phrasing import Intent, expand, fingerprint, load_intents, parse_intents
from glmd.compiler.nano.toolbox import KINDS
from glmd.compiler.nano.tools import announce
from glmd.compiler.nano.values import POOLS, is_held_out

TOPICS = ("glmd", "talk", "memory", "tools")
SAMPLE = 1500


@pytest.fixture(scope="module")
def sample() -> list[Dialogue]:
    return list(itertools.islice(dialogues(1), SAMPLE))


@pytest.fixture(scope="module")
def intents() -> list[Intent]:
    return [intent for topic in TOPICS for intent in load_intents(topic)]


def test_the_same_seed_gives_the_same_conversations(sample: list[Dialogue]) -> None:
    assert list(itertools.islice(dialogues(1), SAMPLE)) == sample
    assert list(itertools.islice(dialogues(2), SAMPLE)) != sample


def test_the_shipped_weights_were_trained_on_this_corpus() -> None:
    """A change of the corpus needs a new training; this digest changes with the weights."""
    digest = hashlib.sha256()
    for dialogue in itertools.islice(dialogues(1), 4000):
        digest.update(repr(dialogue).encode())
    assert digest.hexdigest() == "3908c37964a44c0054a62a46d44acebd8f0f76b676e6860043ce8c49fbe4ac59"


def test_no_question_to_train_on_is_held_out(intents: list[Intent]) -> None:
    """Also not of another intent."""
    rng = random.Random(5)
    held = {
        (intent.language, fingerprint(question))
        for intent in intents
        for question in intent.held_questions
    }
    trained = {
        (intent.language, fingerprint(intent.draw(rng))) for intent in intents for _ in range(300)
    }
    assert len(held) > 3000
    assert len(trained) > 20000
    assert not held & trained


def test_every_question_can_be_asked_in_many_ways() -> None:
    rng = random.Random(5)
    for intent in [*load_intents("glmd"), *load_intents("talk")]:
        ways = {fingerprint(intent.draw(rng)) for _ in range(400)}
        assert len(ways) >= 20, (intent.name, intent.language, len(ways))


def test_no_conversation_asks_a_held_out_question(
    sample: list[Dialogue], intents: list[Intent]
) -> None:
    """Also not by a word left out or misspelt."""
    held = {each for intent in intents for each in intent.held_fingerprints}
    for dialogue in sample:
        for turn in dialogue.turns:
            assert turn.role != "user" or fingerprint(turn.content) not in held, turn


def test_a_training_pattern_that_makes_a_held_out_question_loses_it() -> None:
    text = "@start\n? [start|launch] glmd\n! Launch glmd!\n= Run it."
    (intent,) = parse_intents(text, "en")
    assert {intent.draw(random.Random(seed)) for seed in range(20)} == {"start glmd"}


def test_a_question_that_is_only_politer_than_a_held_out_one_is_not_trained_on() -> None:
    text = "@start\n? [please launch|so now launch|start] glmd\n! launch glmd\n= Run it."
    (intent,) = parse_intents(text, "en")
    assert {intent.draw(random.Random(seed)) for seed in range(20)} == {"start glmd"}
    text = "@start\n? [请启动|启动一下|打开] glmd [吧|]\n! 启动 glmd\n= Run it."
    (intent,) = parse_intents(text, "zh")
    drawn = {intent.draw(random.Random(seed)) for seed in range(20)}
    assert drawn == {"打开 glmd", "打开 glmd 吧"}


def test_held_out_tools_are_unknown_to_the_training(sample: list[Dialogue]) -> None:
    names = {tool["name"] for dialogue in sample for tool in announced(dialogue.turns)}
    assert len(names) > 300
    parameters = {
        parameter
        for dialogue in sample
        for tool in announced(dialogue.turns)
        for parameter in tool["parameters"]["properties"]
    }
    rng = random.Random(3)
    for kind, language, _ in itertools.product([*KINDS, "generic"], LANGUAGES, range(20)):
        _, (tool,) = announce(rng, language, True, [kind])
        assert tool.name not in names
        assert not parameters & set(tool.schema["parameters"]["properties"])


def test_held_out_facts_are_unknown_to_the_training(sample: list[Dialogue]) -> None:
    rng = random.Random(3)
    words = {
        word
        for dialogue in sample
        for turn in dialogue.turns
        for word in re.findall(r"\w+", turn.content)
    }
    for fact, language in itertools.product(("name", "city"), LANGUAGES):
        for _ in range(20):
            (value,) = fact_slots(rng, fact, language, True).values()
            # Invented words are split before they get their capital letter.
            assert is_held_out(value) or is_held_out(value.lower())
            assert value not in words


@pytest.mark.parametrize("pool", sorted(POOLS))
def test_pools_that_are_split_have_values_on_both_sides(pool: tuple[str, str]) -> None:
    if pool[0] in ("names", "cities", "colours", "animals", "people", "things"):
        assert {is_held_out(value) for value in POOLS[pool]} == {True, False}


def test_every_fact_can_be_told_and_recalled_in_both_languages() -> None:
    named = Library.load().named
    for step, fact, language in itertools.product(("tell", "recall"), FACTS, LANGUAGES):
        assert (f"{step}-{fact}", language) in named


def test_no_slot_stays_unfilled(sample: list[Dialogue]) -> None:
    slots = ("{city}", "{name}", "{path}", "{id}", "{id2}", "{mode}", "{result}", "{expression}")
    for dialogue in [*sample, *(Dialogue("", c.prompt) for c in held_out.cases(7, 1))]:
        for turn in dialogue.turns:
            assert not any(slot in turn.content for slot in slots), turn


def test_every_tool_call_fits_its_announcement(sample: list[Dialogue]) -> None:
    calls = 0
    for dialogue in sample:
        schemas = {tool["name"]: tool["parameters"] for tool in announced(dialogue.turns)}
        for before, turn, after in zip(
            dialogue.turns, dialogue.turns[1:], dialogue.turns[2:], strict=False
        ):
            if not turn.metadata:
                continue
            calls += 1
            assert (before.role, turn.role) == ("user", "assistant")
            # In conversations with branches the next question may be that of another branch.
            assert after.role == "observation" or dialogue.branches
            arguments = parse_call(turn.content)
            assert arguments is not None
            properties = schemas[turn.metadata]["properties"]
            assert arguments.keys() == properties.keys()
            for name, value in arguments.items():
                assert isinstance(value, int) == (
                    properties[name].get("type") in ("integer", "number")
                )
    assert calls > 500


def test_expand_takes_nested_alternatives() -> None:
    assert list(expand("[a|b [c|d]] e")) == ["a e", "b c e", "a e", "b d e"]


def test_a_malformed_question_file_is_refused_with_its_line() -> None:
    with pytest.raises(ValueError, match=r"not a line .*'what is it'"):
        parse_intents("@x\nwhat is it", "en")
    with pytest.raises(ValueError, match=r"@x \(en\) needs"):
        parse_intents("@x\n? what is it\n= That.", "en")


def announced(turns: tuple[Turn, ...]) -> list[dict[str, dict[str, dict[str, str]]]]:
    """The tools of a conversation's system turn, if it has one."""
    if turns[0].role != "system":
        return []
    _, _, listing = turns[0].content.partition("\n")
    tools: list[dict[str, dict[str, dict[str, str]]]] = json.loads(listing)
    return tools
