"""Other pieces in the place of those that calls copy."""

from __future__ import annotations

import itertools
import keyword
import random
import re

import pytest
from support.checkpoints import NANO

from glmd.compiler.nano.corpus import dialogues
from glmd.compiler.nano.dialogue import TOOLS_SENTENCE, Dialogue, Turn, tool_call, tools_prompt
from glmd.compiler.nano.guide import Look
from glmd.compiler.nano.rows import Row, training_row
from glmd.compiler.nano.swap import Swapper
from glmd.compiler.nano.tokenizer import NanoTokenizer
from glmd.compiler.nano.values import is_held_out

TOKENIZER = NanoTokenizer.load(NANO)
SWAPPER = Swapper(TOKENIZER)
ASKED = (
    tools_prompt(
        [
            {
                "name": "mabo",
                "description": "userdu",
                "parameters": {"properties": {"userdu": {}, "type": {}}},
            }
        ]
    ),
    Turn("user", "mabo 王小丽, Bobo"),
    tool_call("mabo", {"userdu": "王小丽", "type": "Bobo"}),
)


def text(row: Row) -> str:
    return "".join(map(TOKENIZER.piece, row.ids))


def swapped(seed: int) -> str:
    row = training_row(TOKENIZER, Dialogue("tools", ASKED))
    return text(SWAPPER.swapped(random.Random(seed), row))


@pytest.fixture(scope="module")
def rows() -> list[tuple[Row, Row]]:
    rng = random.Random(3)
    calls = (dialogue for dialogue in dialogues(4) if dialogue.kind in ("calls", "tools"))
    sample = [training_row(TOKENIZER, dialogue) for dialogue in itertools.islice(calls, 100)]
    return [(row, SWAPPER.swapped(rng, row)) for row in sample]


def test_a_copied_name_begins_with_another_piece_wherever_it_stands() -> None:
    texts = [swapped(seed) for seed in range(40)]
    names = [re.findall(r'"(\w+)": \{\}', each)[0] for each in texts]
    assert 5 < len(set(names)) < 40
    for each, name in zip(texts, names, strict=True):
        assert f'"description": "{name}"' in each
        assert f"tool_call({name}='" in each


def test_a_copied_value_is_swapped_in_the_question_for_one_of_its_script() -> None:
    texts = [swapped(seed) for seed in range(40)]
    values = [re.findall(r"='(\w+)'", each) for each in texts]
    assert len({chinese for chinese, _ in values}) > 5
    for each, (chinese, latin) in zip(texts, values, strict=True):
        assert f"mabo {chinese}, {latin}" in each
        assert re.fullmatch(r"[\u4e00-\u9fa5]+", chinese)
        assert latin.isascii()


def test_what_every_announcement_and_call_holds_stays() -> None:
    for seed in range(40):
        assert TOOLS_SENTENCE in swapped(seed)
        assert '"type": {}' in swapped(seed)  # an argument of that name as well


def test_a_row_without_calls_stays_as_it_is() -> None:
    row = training_row(TOKENIZER, Dialogue("plain", (Turn("user", "a"), Turn("assistant", "b"))))
    assert SWAPPER.swapped(random.Random(1), row) == row


def test_everything_else_about_a_row_stays(rows: list[tuple[Row, Row]]) -> None:
    changed = 0
    for row, other in rows:
        assert (other.weights, other.branches, other.links) == (
            row.weights,
            row.branches,
            row.links,
        )
        pairs = set(zip(row.ids + row.wanted, other.ids + other.wanted, strict=True))
        assert len(pairs) == len({old for old, _ in pairs}) == len({new for _, new in pairs})
        changed += row != other
    assert changed > 60


def words(row: Row) -> set[str]:
    return set(re.findall(r"\w+", text(row)))


def test_no_swap_makes_a_held_out_name_or_a_keyword(rows: list[tuple[Row, Row]]) -> None:
    names = 0
    for row, other in rows:
        for link in other.links:
            if link.look is Look.NEXT and other.ids[link.target] != row.ids[link.target]:
                said = "".join(map(TOKENIZER.piece, other.ids[link.target : link.target + 12]))
                found = re.match(r"\w+", said)
                assert found
                assert not is_held_out(found[0])
                assert not keyword.iskeyword(found[0])
                names += 1
    assert names > 200


def test_no_swap_makes_a_held_out_word_by_its_middle_or_end(rows: list[tuple[Row, Row]]) -> None:
    made = [word for row, other in rows for word in words(other) - words(row)]
    assert len(made) > 200
    assert not [word for word in made if is_held_out(word) or keyword.iskeyword(word)]


def test_pieces_that_begin_no_word_of_the_corpus_are_copied_too(
    rows: list[tuple[Row, Row]],
) -> None:
    def copied(row: Row) -> set[int]:
        return {row.ids[link.target] for link in row.links if link.look is Look.NEXT}

    before, after = (set().union(*map(copied, column)) for column in zip(*rows, strict=True))
    assert len(after) > 1.2 * len(before)
