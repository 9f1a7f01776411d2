"""glm3-nano's tokenizer: sentencepiece BPE with ChatGLM3's settings, special tokens behind it.

ChatGLM3's ``tokenizer.model`` records how it was trained: BPE, byte fallback, digits split,
pieces of only spaces allowed, the identity normaliser, a dummy prefix, no whitespace removed. The
same here, so ``decode(encode(x)) == x`` for every text: a newline is a byte piece and
indentation is kept.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import sentencepiece as spm

from glmd.chat import SPECIAL_TOKENS

_WORD_START = re.compile(r"(?:^|(?<= ))(?=\w)")
_BOUNDARY = "\x01"

PAD_ID = 0
EOS_ID = 2


class NanoTokenizer:
    """Text to ids and back, and the ids of the special tokens (`special`)."""

    def __init__(self, model: bytes) -> None:
        self._pieces = pieces = spm.SentencePieceProcessor(model_proto=model)
        self.model = model
        self.special = {
            token: len(self._pieces) + index for index, token in enumerate(SPECIAL_TOKENS)
        }
        self._sizes = [
            1 if pieces.is_byte(i) else len(self.piece(i).encode()) for i in range(len(pieces))
        ]
        self.stop_ids = {EOS_ID, self.special["<|user|>"], self.special["<|observation|>"]}

    @classmethod
    def load(cls, folder: Path) -> NanoTokenizer:
        """Reads ``tokenizer.model`` in a model folder."""
        return cls((folder / "tokenizer.model").read_bytes())

    def __len__(self) -> int:
        """Number of ids, special tokens included."""
        return len(self._pieces) + len(SPECIAL_TOKENS)

    def encode(self, text: str) -> list[int]:
        """Ids of plain text. The name of a special token in it is text as any other."""
        return list(self._pieces.encode(text))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The characters of `text` that each id of `encode` stands for: begin and end.

        Of a character that is given in bytes all but the last one are empty.
        """
        places = [i for i, character in enumerate(text) for _ in character.encode()]
        places.append(len(text))
        ends = accumulate((self._sizes[token] for token in self.encode(text)), initial=-1)
        return list(pairwise(places[max(end, 0)] for end in ends))  # a space is put before it

    def piece(self, token: int) -> str:
        """The text of one id, of a byte or a special token its name."""
        if token >= len(self._pieces):
            return SPECIAL_TOKENS[token - len(self._pieces)]
        return str(self._pieces.id_to_piece(token)).replace("▁", " ")

    def decode(self, ids: Sequence[int]) -> str:
        """Text of plain ids. Raises IndexError for a special id: it stands for no text."""
        return str(self._pieces.decode(list(ids)))


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> NanoTokenizer:
    """Trains `vocabulary` pieces on `texts`; the same texts give the same bytes.

    No piece joins a space and the word behind it. So a word has the same pieces at the start of a
    text, behind a space and in quotes, and a model this small can copy one it has never seen.
    Characters that hardly occur get no piece: they are bytes, as those in the invented names are.
    """
    lines = (_WORD_START.sub(_BOUNDARY, line) for text in texts for line in text.splitlines())
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=filter(None, lines),
        pretokenization_delimiter=_BOUNDARY,
        model_writer=model,
        model_type="bpe",
        vocab_size=vocabulary,
        character_coverage=0.9995,
        max_sentencepiece_length=16,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=1,
    )
    return NanoTokenizer(model.getvalue())
