"""Text that streams, whatever the split, and never breaks a character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tokenizers import nano, real

from glmd.daemon.tokenizer.detokenizer import Detokenizer
from glmd.daemon.tokenizer.tokenizer import Tokenizer

# What byte fallback spells: rare characters, emoji with joiners and skin tones, flags.
RARE = ["𠮷野家", "龘靐齉", "👩🏽‍🚀", "🇨🇳", "e\u0301", "\u2028", "𝔘𝔫𝔦", "🫠🫥", "ﷺ", "\x00"]
RARE_TEXT = st.lists(st.sampled_from(RARE) | st.text(max_size=8)).map("".join)


def stream(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """The pieces of text when the ids come one at a time."""
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.feed([token]) for token in ids), detokenizer.finish()]


@given(st.lists(st.integers(0, nano().vocab + 2)))
def test_the_stream_is_the_text(ids: list[int]) -> None:
    assert "".join(stream(nano(), ids)) == nano().decode(ids)


@given(st.lists(st.integers(3, 258)))
def test_any_bytes(ids: list[int]) -> None:
    # Unicode's practice: U+FFFD for each maximal part that cannot begin a character.
    assert "".join(stream(nano(), ids)) == bytes(i - 3 for i in ids).decode("utf-8", "replace")


@given(RARE_TEXT)
def test_no_character_is_broken(text: str) -> None:
    said = ""
    for piece in stream(nano(), nano().encode(text)):
        said += piece
        assert text.replace("\u2581", " ").startswith(said)
    assert said == text.replace("\u2581", " ")


@given(st.lists(st.integers(0, nano().vocab + 2)), st.data())
def test_any_split_gives_the_same(ids: list[int], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(ids)))
    detokenizer = Detokenizer(nano())
    said = detokenizer.feed(ids[:cut]) + detokenizer.feed(ids[cut:]) + detokenizer.finish()
    assert said == nano().decode(ids)


def test_a_character_waits_for_its_last_byte() -> None:
    ids = [3 + byte for byte in "😀".encode()]
    assert stream(nano(), ids) == ["", "", "", "😀", ""]


def test_a_character_that_is_never_completed() -> None:
    ids = [3 + byte for byte in "😀".encode()[:3]]
    assert stream(nano(), ids) == ["", "", "", "\ufffd"]


def test_a_character_that_is_interrupted() -> None:
    ids = [3 + 0xE4, 3 + 0xBD, 3 + ord("a")]
    assert stream(nano(), ids) == ["", "", "\ufffda", ""]


def test_the_space_of_a_continued_text_is_kept() -> None:
    ids = nano().encode("cards")
    assert Detokenizer(nano()).feed(ids) == "cards"
    assert Detokenizer(nano(), continues=True).feed(ids) == " cards"


@pytest.mark.needs("real_tokenizer")
@pytest.mark.parametrize("text", RARE)
def test_rare_characters_with_the_real_tokenizer(text: str) -> None:
    pieces = stream(real(), real().encode(text))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
