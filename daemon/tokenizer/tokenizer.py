"""ChatGLM3's tokenizer: a sentencepiece model, and the special tokens whose ids follow it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from glmd.chat import SPECIAL_TOKENS
from glmd.daemon.tokenizer.detokenizer import Detokenizer
from glmd.errors import ModelError

log = logging.getLogger(__name__)

FILE_NAME = "tokenizer.model"
EOS = 2
UNUSED = "<unused>"
_SPACE = "\u2581"  # how sentencepiece writes a space inside a piece


class Tokenizer:
    """Text to ids and back. Immutable, so any thread may use it.

    `special` maps the names of the special tokens to their ids; `vocab` counts all ids, special
    ones included; ids from there to the model's padded vocabulary stand for nothing. `vocab_bytes`:
    the UTF-8 each of them adds to a text, b"" for special ids; only at the very start of a text a
    piece loses the space it begins with. `stop_ids` end an answer.
    """

    def __init__(self, model: bytes, source: str = FILE_NAME) -> None:
        """`model`: the bytes of a tokenizer.model. Raises ModelError that names `source`."""
        self.source = source
        self._pieces = _load(model, source)
        self.text_vocab = int(self._pieces.vocab_size())
        self.vocab = self.text_vocab + len(SPECIAL_TOKENS)
        self.special = {name: self.text_vocab + i for i, name in enumerate(SPECIAL_TOKENS)}
        self.stop_ids = (EOS, self.special["<|user|>"], self.special["<|observation|>"])
        self._names = (*self._pieces.id_to_piece(list(range(self.text_vocab))), *SPECIAL_TOKENS)
        self.vocab_bytes = self._bytes()
        # A probe, since the setting itself is not exposed: is a text's first space the dummy one?
        space = self._pieces.piece_to_id(_SPACE)
        self.dummy_prefix = self._pieces.decode([space]) == ""

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a tokenizer.model, or the one in a folder. Raises ModelError."""
        file = path / FILE_NAME if path.is_dir() else path
        try:
            return cls(file.read_bytes(), str(file))
        except OSError as error:
            raise ModelError(
                f"The tokenizer {file} cannot be read: {error.strerror or error}.",
                hint="Give the folder with ChatGLM3's tokenizer.model with --tokenizer.",
            ) from error

    def check_fits(self, padded_vocab_size: int) -> None:
        """Raises ModelError unless the model has a row for every id of this tokenizer."""
        if self.vocab > padded_vocab_size:
            raise ModelError(
                f"The tokenizer {self.source} has {self.vocab} ids ({self.text_vocab} pieces and "
                f"{len(SPECIAL_TOKENS)} special tokens), and the model's vocabulary holds only "
                f"{padded_vocab_size}.",
                hint="Give the tokenizer.model that belongs to this model with --tokenizer.",
            )

    def encode(self, text: str) -> list[int]:
        """Ids of plain text: never a special one, whatever the text says."""
        try:
            return list(self._pieces.encode(text))
        except RuntimeError:
            # Half a surrogate pair is not text that UTF-8 can carry; a client can still send it.
            return list(self._pieces.encode(text.encode("utf-8", "replace").decode("utf-8")))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`. Special and unused ids stand for no text; bytes that are not UTF-8 become
        U+FFFD, one for each maximal ill-formed part (Unicode 15, section 3.9)."""
        detokenizer = Detokenizer(self)
        return detokenizer.feed(ids) + detokenizer.finish()

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """What each id is called: sentencepiece's piece, a special token's name, or "<unused>"."""
        return [self._names[i] if 0 <= i < self.vocab else UNUSED for i in ids]

    def text_of(self, token: int) -> str:
        """How to show one id by itself, as in a table of log-probabilities: its own text with the
        leading space kept, the name of a special token, "<0xE4>" for a byte of a longer character.
        """
        data = self.bytes_of(token)
        try:
            return data.decode("utf-8") if data else self.pieces([token])[0]
        except UnicodeDecodeError:
            return self.pieces([token])[0]

    def bytes_of(self, token: int) -> bytes:
        """UTF-8 that `token` adds to a text; b"" for special and unused ids."""
        return self.vocab_bytes[token] if 0 <= token < self.text_vocab else b""

    def opens_with_space(self, token: int) -> bool:
        """Whether `token` is a piece that begins with sentencepiece's mark for a space."""
        return 0 <= token < self.text_vocab and self._names[token].startswith(_SPACE)

    def _bytes(self) -> tuple[bytes, ...]:
        table = [name.replace(_SPACE, " ").encode("utf-8") for name in self._names]
        for i in range(self.text_vocab):
            if self._pieces.is_byte(i):
                table[i] = bytes([int(self._names[i][3:5], 16)])
            elif self._pieces.is_control(i):
                table[i] = b""
            elif self._pieces.is_unknown(i):
                table[i] = self._pieces.decode([i]).encode("utf-8")
        table[self.text_vocab :] = [b""] * len(SPECIAL_TOKENS)
        return tuple(table)


def _load(model: bytes, source: str) -> sentencepiece.SentencePieceProcessor:
    hint = "Give ChatGLM3's own tokenizer.model with --tokenizer."
    processor = sentencepiece.SentencePieceProcessor()
    try:
        if not model:
            raise RuntimeError("it is empty")
        processor.LoadFromSerializedProto(model)
    except RuntimeError as error:
        log.debug("sentencepiece refused %s: %s", source, error)
        raise ModelError(
            f"The tokenizer {source} ({len(model)} bytes) is not a whole sentencepiece model.",
            hint=hint,
        ) from error
    if processor.eos_id() != EOS:
        raise ModelError(
            f"The tokenizer {source} ends a text with id {processor.eos_id()}, not with {EOS}.",
            hint=hint,
        )
    return processor
