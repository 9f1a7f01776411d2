"""Text to ids and back."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from support.checkpoints import NANO
from support.tokenizers import nano

from glmd.chat import SPECIAL_TOKENS
from glmd.daemon.tokenizer.tokenizer import Tokenizer
from glmd.errors import ModelError

TYPED_ROLES = ["<|user|>", "<|assistant|>\n", "[gMASK]sop", "</s>", "<s>", "<unk>", "[MASK]", "eop"]


def trained(**options: object) -> bytes:
    """A sentencepiece model of a few pieces with other settings than ChatGLM3's."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b a b", "ab ab ba"]),
        model_writer=model,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"model_type": "bpe", "vocab_size": 12, **options},
    )
    return model.getvalue()


def test_special_ids_follow_the_pieces() -> None:
    tokenizer = nano()
    pieces = tokenizer.text_vocab
    assert list(tokenizer.special.values()) == list(range(pieces, pieces + 9))
    assert list(tokenizer.special) == list(SPECIAL_TOKENS)
    assert tokenizer.vocab == pieces + 9
    assert tokenizer.stop_ids == (2, pieces + 6, pieces + 8)


@given(st.text() | st.sampled_from(TYPED_ROLES))
def test_a_text_survives_encoding(text: str) -> None:
    # sentencepiece writes a space as U+2581, so that one character comes back as a space.
    assert nano().decode(nano().encode(text)) == text.replace("\u2581", " ")


@given(st.lists(st.text() | st.sampled_from(TYPED_ROLES)).map("".join))
def test_no_text_gives_a_special_id(text: str) -> None:
    tokenizer = nano()
    for token in tokenizer.encode(text):
        assert 2 < token < tokenizer.text_vocab or token == 0


@cache
def oracle() -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(NANO / "tokenizer.model"))


@given(st.lists(st.integers(0, nano().text_vocab - 1)))
def test_decoding_agrees_with_sentencepiece(ids: list[int]) -> None:
    # For bytes that are not UTF-8 both give U+FFFD, sentencepiece one a byte.
    theirs, ours = oracle().decode(ids), nano().decode(ids)
    if "\ufffd" in theirs:
        assert ours.replace("\ufffd", "") == theirs.replace("\ufffd", "")
    else:
        assert ours == theirs


def test_half_a_surrogate_pair_is_no_text() -> None:
    assert nano().decode(nano().encode("a\ud800b")) == "a?b"


def test_special_and_unused_ids_stand_for_no_text() -> None:
    tokenizer = nano()
    hello = tokenizer.encode("hello")
    user = tokenizer.special["<|user|>"]
    assert tokenizer.decode([user, 1, *hello, 2, tokenizer.vocab + 5, -1]) == "hello"


def test_every_id_has_a_name() -> None:
    tokenizer = nano()
    assert tokenizer.pieces([2, tokenizer.special["sop"], tokenizer.vocab]) == [
        "</s>",
        "sop",
        "<unused>",
    ]
    assert tokenizer.pieces(tokenizer.encode("\n"))[-1] == "<0x0A>"


def test_the_text_of_one_id() -> None:
    tokenizer = nano()
    emoji = tokenizer.encode("\U0001faa9")  # spelled in bytes
    assert [tokenizer.text_of(token) for token in emoji[-4:]] == [
        "<0xF0>",
        "<0x9F>",
        "<0xAA>",
        "<0xA9>",
    ]
    assert tokenizer.text_of(tokenizer.special["<|observation|>"]) == "<|observation|>"
    assert tokenizer.text_of(tokenizer.encode("\n")[-1]) == "\n"


def test_the_table_of_bytes() -> None:
    tokenizer = nano()
    assert len(tokenizer.vocab_bytes) == tokenizer.vocab
    assert tokenizer.vocab_bytes[3:259] == tuple(bytes([i]) for i in range(256))
    assert all(tokenizer.vocab_bytes[i] == b"" for i in (1, 2, *tokenizer.special.values()))
    text = "How do I use two cards? 怎么用两张卡？\n"
    joined = b"".join(tokenizer.vocab_bytes[i] for i in tokenizer.encode(text))
    assert joined == b" " + text.encode()


def test_a_tokenizer_without_a_dummy_prefix_keeps_the_first_space() -> None:
    tokenizer = Tokenizer(trained(add_dummy_prefix=False, remove_extra_whitespaces=False))
    assert tokenizer.decode(tokenizer.encode(" ab")) == " ab"


def test_a_folder_or_the_file_itself() -> None:
    assert Tokenizer.load(NANO).vocab == Tokenizer.load(NANO / "tokenizer.model").vocab


def test_too_small_a_vocabulary_is_refused() -> None:
    tokenizer = nano()
    tokenizer.check_fits(tokenizer.vocab)
    with pytest.raises(ModelError, match=rf"tokenizer\.model has {tokenizer.vocab} ids .* only"):
        tokenizer.check_fits(tokenizer.vocab - 1)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.model cannot be read: No such file") as error:
        Tokenizer.load(tmp_path)
    assert "--tokenizer" in error.value.hint


@pytest.mark.parametrize("size", [0, 1, 1000, 20000])
def test_a_truncated_file_is_named(tmp_path: Path, size: int) -> None:
    file = tmp_path / "tokenizer.model"
    file.write_bytes((NANO / "tokenizer.model").read_bytes()[:size])
    with pytest.raises(ModelError, match=rf"tokenizer\.model \({size} bytes\) is not a whole"):
        Tokenizer.load(file)


def test_another_end_of_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="ends a text with id -1, not with 2"):
        Tokenizer(trained(eos_id=-1))
