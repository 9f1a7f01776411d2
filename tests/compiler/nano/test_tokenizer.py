"""The shipped tokenizer: nothing is lost, and the special ids follow ChatGLM3's rule."""

from __future__ import annotations

import itertools

import pytest
from support.checkpoints import NANO

from glmd.chat import SPECIAL_TOKENS
from glmd.compiler.nano.__main__ import corpus_texts
from glmd.compiler.nano.corpus import dialogues
from glmd.compiler.nano.shape import Shape
from glmd.compiler.nano.tokenizer import NanoTokenizer, train_tokenizer

TOKENIZER = NanoTokenizer.load(NANO)


@pytest.mark.parametrize(
    "text",
    [
        "你好",
        "How do I use two cards?",
        "def f(x):\n    if x:\n\n        return  1\n\t# tab\n",
        " leading, trailing  ",
        "\n\n\n",
        "😊👋🏽👨‍👩‍👧 flags 🇨🇳",
        "龘靐齉𠀀𪚥 rare",
        "<|user|> [gMASK] sop </s> <unk>",
        "Ünïcödé – “quotes” ， full width １２３",
        "\x00\x01\u200b",
    ],
)
def test_text_comes_back_unchanged(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_the_corpus_comes_back_unchanged() -> None:
    for dialogue in itertools.islice(dialogues(5), 300):
        for turn in dialogue.turns:
            assert TOKENIZER.decode(TOKENIZER.encode(turn.content)) == turn.content


def test_special_ids_follow_the_pieces() -> None:
    pieces = Shape().pieces
    assert [TOKENIZER.special[token] for token in SPECIAL_TOKENS] == list(
        range(pieces, pieces + len(SPECIAL_TOKENS))
    )
    assert len(TOKENIZER) == pieces + len(SPECIAL_TOKENS) <= Shape().vocabulary
    assert TOKENIZER.stop_ids == {2, TOKENIZER.special["<|user|>"], pieces + 8}


def test_no_text_encodes_to_a_special_or_reserved_id() -> None:
    for token in SPECIAL_TOKENS:
        assert all(2 < index < Shape().pieces for index in TOKENIZER.encode(token))


def test_bytes_start_at_three_and_a_newline_is_one() -> None:
    newline = TOKENIZER.encode("\n")
    assert newline[1:] == [3 + ord("\n")]
    assert TOKENIZER.decode(newline[:1]) == ""


def test_digits_are_pieces_of_their_own() -> None:
    assert len(TOKENIZER.encode("x9049")) == len(TOKENIZER.encode("x")) + 4


@pytest.mark.parametrize("word", ["zomali", "Zomali", "get_weather", "9049", "王芳"])
def test_a_word_has_the_same_pieces_wherever_it_stands(word: str) -> None:
    """Behind a space, in quotes, before a bracket: otherwise a small model cannot copy it."""
    _, *pieces = TOKENIZER.encode(word)
    for text in (f"in {word}?", f"'{word}'", f'    "{word}",', f"({word}=1)", f"\n{word}\n"):
        ids = TOKENIZER.encode(text)
        assert any(ids[i : i + len(pieces)] == pieces for i in range(len(ids))), text


def test_the_same_texts_train_the_same_tokenizer() -> None:
    texts = list(itertools.islice(corpus_texts(1), 2000))
    assert train_tokenizer(texts, 1400).model == train_tokenizer(texts, 1400).model
