"""Answers limited to texts: by any tokens that spell them, to the end, and only there."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support import tokenizers

from glmd.errors import Code, InvalidRequest
from glmd.plugins.choices import Choices
from glmd.plugins.json_schema import JsonSchema
from glmd.plugins.regex import Regex
from glmd.sampler import Sampler
from glmd.testing import SamplerHarness, softmax

TOKENIZER = tokenizers.nano()
WORDS = TOKENIZER.vocab_bytes
STOPS = set(TOKENIZER.stop_ids)
CHAT = [TOKENIZER.special["<|assistant|>"]]  # an answer that begins a text
TEXT = TOKENIZER.encode("so")  # one that continues a text
PADDED = 2400  # ids beyond the tokenizer's, as a padded vocabulary has them

JSON, REGEX = JsonSchema(), Regex()


def harness(sampler: Sampler) -> SamplerHarness:
    return SamplerHarness(sampler, vocab_bytes=WORDS, stop_ids=TOKENIZER.stop_ids, vocab=PADDED)


def text(tokens: Sequence[int]) -> bytes:
    """Raises IndexError for an id of the padding."""
    return b"".join(WORDS[token] for token in tokens)


def written(sampler: Sampler, params: Any, seed: int, prompt: Sequence[int] = CHAT) -> str:
    """An answer at random, which must come to its end."""
    logits = np.random.default_rng(seed).normal(0, 2, PADDED).astype(np.float32)
    given = harness(sampler).answer(params, logits=logits, prompt=prompt, length=400, seed=seed)
    assert given.tokens[-1] in STOPS
    assert not STOPS & set(given.tokens[:-1])
    said = text(given.tokens).decode()
    return said.removeprefix("\n").removeprefix(" ") if prompt is CHAT else said


def spelt(data: bytes) -> list[int]:
    """By a token for each byte, as characters are that the vocabulary lacks."""
    return [max(i for i, word in enumerate(WORDS) if word == bytes([b])) for b in data]


# -- choices --------------------------------------------------------------------------------------

OF = {"of": ["yes", "yes, please", "否", "𠮷野"]}


def test_an_answer_is_one_of_the_choices() -> None:
    said = {written(Choices(), OF, seed) for seed in range(60)}
    assert said == set(OF["of"])
    assert {written(Choices(), OF, seed, TEXT) for seed in range(60)} == set(OF["of"])


def test_choices_end_where_one_is_whole_and_may_go_on() -> None:
    allowed = harness(Choices()).allowed(OF, prompt=TEXT, answer=spelt(b"yes"))
    assert allowed > STOPS
    assert {WORDS[i] for i in allowed - STOPS} == {b",", b", "} & set(WORDS)
    assert harness(Choices()).allowed(OF, prompt=TEXT, answer=spelt("否".encode())) == STOPS


def test_choices_are_spelt_by_any_tokens() -> None:
    """Of "𠮷", which the vocabulary lacks, each of the four bytes; of a comma both ids."""
    answer: list[int] = []
    for byte in spelt("𠮷".encode()):
        assert byte in harness(Choices()).allowed(OF, prompt=TEXT, answer=answer)
        answer.append(byte)
    commas = {i for i, word in enumerate(WORDS) if word == b","}
    assert len(commas) == 2
    assert commas <= harness(Choices()).allowed(OF, prompt=TEXT, answer=spelt(b"yes"))


def test_choices_are_drawn_as_likely_as_their_tokens() -> None:
    logits = np.random.default_rng(3).normal(0, 1, PADDED).astype(np.float32)
    allowed = harness(Choices()).allowed({"of": ["a", "b"]}, prompt=TEXT)
    assert {WORDS[i] for i in allowed} == {b"a", b"b"}
    probs = softmax(logits)
    probs[[i for i in range(PADDED) if i not in allowed]] = 0
    harness(Choices()).check_distribution(
        {"of": ["a", "b"]}, logits=logits, probs=probs / probs.sum(), prompt=TEXT, draws=4000
    )


# -- regex ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    ["[0-9]{4}-[0-9]{2}", "a/b|c//", r"\/x", "(北京|𠮷野){1,3}市", "x\ny", 'say "[a-f]{2}"'],
)
@pytest.mark.parametrize("prompt", [CHAT, TEXT], ids=["chat", "text"])
def test_an_answer_matches_the_pattern(pattern: str, prompt: list[int]) -> None:
    for seed in range(8):
        assert re.fullmatch(pattern, written(REGEX, {"pattern": pattern}, seed, prompt))


def test_only_what_continues_a_character_may_follow_its_first_byte() -> None:
    allowed = harness(REGEX).allowed({"pattern": "[北京]"}, prompt=TEXT, answer=spelt(b"\xe5"))
    assert {WORDS[i] for i in allowed} == {b"\x8c"}
    allowed = harness(REGEX).allowed({"pattern": "."}, prompt=TEXT, answer=spelt(b"\xf0\xa0"))
    assert {WORDS[i] for i in allowed} == {bytes([i]) for i in range(0x80, 0xC0)}


# -- JSON -----------------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"enum": ["北京", "𠮷野", 'a "b"']},
        "days": {"type": "integer", "minimum": 3, "maximum": 20},
        "note": {"type": "string", "maxLength": 6},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["city", "days", "note"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("prompt", [CHAT, TEXT], ids=["chat", "text"])
def test_an_answer_is_json_of_the_schema(prompt: list[int]) -> None:
    for seed in range(12):
        found = json.loads(written(JSON, {"schema": SCHEMA}, seed, prompt))
        assert {"city", "days", "note"} <= found.keys() <= SCHEMA["properties"].keys()
        assert found["city"] in SCHEMA["properties"]["city"]["enum"]
        assert 3 <= found["days"] <= 20
        assert len(found["note"]) <= 6
        assert all(tag in {True, False} for tag in found.get("tags", []))


def ends(answer: bytes, schema: Any) -> bool:
    """Whether the answer may be written so, and end there."""
    ids = spelt(answer)
    following = [{token} for token in ids] + [STOPS]
    return all(
        wanted <= harness(JSON).allowed({"schema": schema}, prompt=TEXT, answer=ids[:n])
        for n, wanted in enumerate(following)
    )


def test_json_is_written_on_one_line_unless_its_schema_says_otherwise() -> None:
    value = {"a": [1, {"b": "c"}]}
    assert ends(json.dumps(value).encode(), {})
    assert ends(json.dumps(value, separators=(",", ":")).encode(), {})
    indented = json.dumps(value, indent=2).encode()
    assert not ends(indented, {})
    assert ends(indented, {"x-guidance": {"whitespace_flexible": True}})


def test_a_character_that_the_vocabulary_lacks_is_spelt_in_bytes() -> None:
    answer = spelt(b'{"city": "')
    for byte in spelt("𠮷".encode()):
        assert byte in harness(JSON).allowed({"schema": SCHEMA}, prompt=TEXT, answer=answer)
        answer.append(byte)


# -- all of them ----------------------------------------------------------------------------------

EACH = [
    (Choices(), OF),
    (REGEX, {"pattern": "[a-z]{3,9}"}),
    (JSON, {"schema": SCHEMA}),
]
each = pytest.mark.parametrize(("sampler", "params"), EACH, ids=["choices", "regex", "json_schema"])


@each
def test_no_special_id_nor_one_of_the_padding_may_come_inside(
    sampler: Sampler, params: Any
) -> None:
    for prompt in (CHAT, TEXT):
        allowed = harness(sampler).allowed(params, prompt=prompt)
        assert all(i < len(WORDS) and WORDS[i] for i in allowed)


@each
def test_an_answer_can_be_had_again_and_taken_up_anywhere(sampler: Sampler, params: Any) -> None:
    logits = np.random.default_rng(7).normal(0, 2, PADDED).astype(np.float32)
    harness(sampler).check_repeatable(params, logits=logits, prompt=CHAT, length=200, seed=4)


@each
def test_a_chat_may_open_as_the_model_was_trained_to(sampler: Sampler, params: Any) -> None:
    """With a newline and a space, which no chat shows."""
    begin = harness(sampler).allowed(params, prompt=CHAT)
    newline, space = spelt(b"\n ")
    assert {newline, space} <= begin
    assert {space} <= harness(sampler).allowed(params, prompt=CHAT, answer=[newline])
    assert newline not in harness(sampler).allowed(params, prompt=CHAT, answer=[newline])
    assert {newline, space}.isdisjoint(harness(sampler).allowed(params, prompt=TEXT))


@each
def test_an_answer_that_cannot_end_is_refused(sampler: Sampler, params: Any) -> None:
    endless = SamplerHarness(sampler, vocab_bytes=WORDS)
    with pytest.raises(InvalidRequest, match=f"{sampler.name} needs an answer that ends") as caught:
        endless.start(params)
    assert "ignore_eos" in caught.value.hint


@each
def test_a_cut_before_it_is_the_fault_of_the_request(sampler: Sampler, params: Any) -> None:
    logits = np.full(PADDED, -np.inf, np.float32)
    logits[TOKENIZER.special["sop"]] = 0.0
    with pytest.raises(InvalidRequest, match="took out every token") as caught:
        harness(sampler).answer(params, logits=logits)
    assert caught.value.hint == f"Put {sampler.name} first."


@pytest.mark.parametrize(
    ("sampler", "params", "sentence"),
    [
        (JSON, {"schema": {"type": "nonsense"}}, "json_schema cannot be made: Invalid type: nons"),
        (JSON, {"schema": {"$ref": "http://a/b"}}, "'http://a/b' is not present in a registry"),
        (JSON, {"schema": {"pattern": "(?=a)"}}, "look-around, .* is not supported"),
        (REGEX, {"pattern": "("}, r"regex cannot be made: unclosed group\.$"),
        (REGEX, {"pattern": "a(?=b)"}, "look-around, .* is not supported"),
    ],
)
def test_what_is_no_grammar_is_refused_in_a_sentence(
    sampler: Sampler, params: Any, sentence: str
) -> None:
    with pytest.raises(InvalidRequest, match=sentence) as caught:
        harness(sampler).start(params)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("sampler", "params"),
    [(JSON, {"schema": {"enum": ["x" * 40_000]}}), (REGEX, {"pattern": "x" * 40_000})],
    ids=["json_schema", "regex"],
)
def test_what_takes_long_to_compile_is_refused(sampler: Sampler, params: Any) -> None:
    with pytest.raises(InvalidRequest, match="takes 32,768 characters at the most"):
        harness(sampler).start(params)


def test_what_is_too_complex_is_the_fault_of_the_request() -> None:
    """A limit of llguidance's is met when the objects' keys have to be told apart."""
    objects = [
        {"type": "object", "properties": {f"{i}{j}": {} for j in range(35)}} for i in range(45)
    ]
    with pytest.raises(InvalidRequest, match=r"json_schema is too complex to follow: .*max is"):
        harness(JSON).allowed({"schema": {"anyOf": objects}}, prompt=TEXT, answer=spelt(b"{"))


def test_requests_of_one_schema_share_its_grammar() -> None:
    sampler = JsonSchema()
    made = harness(sampler)
    compiled = sampler._grammars._compiled
    for _ in range(3):
        made.start({"schema": SCHEMA}, prompt=CHAT)
    assert len(compiled) == 1
    one, other = (
        made.answer({"schema": SCHEMA}, logits=FLAT, prompt=CHAT, seed=s, length=9) for s in (1, 2)
    )
    assert one.tokens != other.tokens  # each on a walk of its own
    assert len(compiled) == 1
    for n in range(200):
        made.start({"schema": {"const": n}}, prompt=CHAT)
    assert len(compiled) <= 64


FLAT = np.zeros(PADDED, np.float32)


def test_another_model_gets_its_own_tables() -> None:
    """As after a reload in the same process: the vocabulary is another object."""
    for sampler, params in EACH:
        assert harness(sampler).allowed(params, prompt=CHAT)
        fewer = SamplerHarness(sampler, vocab_bytes=WORDS[:1600], stop_ids=[2], vocab=1600)
        assert max(fewer.allowed(params, prompt=[2])) < 1600


def test_without_llguidance_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    for sampler, params in ((JsonSchema(), {}), (Regex(), {"pattern": "a"})):
        with pytest.raises(InvalidRequest, match="needs llguidance") as caught:
            harness(sampler).start(params)
        assert caught.value.code is Code.UNSUPPORTED
        assert "glmd[json]" in caught.value.hint


# -- ChatGLM3's own vocabulary --------------------------------------------------------------------


@pytest.mark.needs("real_tokenizer")
@pytest.mark.parametrize(
    ("sampler", "params", "pattern"),
    [
        (Choices(), OF, "yes|yes, please|否|𠮷野"),
        (REGEX, {"pattern": "(北京|𠮷野){1,3}[0-9]{2}"}, "(北京|𠮷野){1,3}[0-9]{2}"),
        (JSON, {"schema": SCHEMA}, r"\{.*\}"),
    ],
    ids=["choices", "regex", "json_schema"],
)
def test_chatglm3s_own_tokens_spell_them_too(sampler: Sampler, params: Any, pattern: str) -> None:
    """65,024 ids, of which 64,789 to 64,797 are special and the rest padding; the answer is read as
    the daemon reads it."""
    real = tokenizers.real()
    full = SamplerHarness(
        sampler, vocab_bytes=real.vocab_bytes, stop_ids=real.stop_ids, vocab=65024
    )
    prompt = [real.special["<|assistant|>"]]
    for seed in range(6):
        logits = np.random.default_rng(seed).normal(0, 2, 65024).astype(np.float32)
        given = full.answer(params, logits=logits, prompt=prompt, length=200, seed=seed)
        assert given.tokens[-1] in real.stop_ids
        said = real.decode(given.tokens[:-1]).strip()
        assert re.fullmatch(pattern, said)
        if sampler is JSON:
            assert json.loads(said)["city"] in SCHEMA["properties"]["city"]["enum"]
