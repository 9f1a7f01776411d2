"""What lies at the edge: contexts that are exactly full, characters of many tokens, typed roles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemons import Homes
from support.tokenizers import nano

import glmd
from glmd.errors import Code, ContextOverflow

CONTEXT = 1024


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[glmd.Client]:
    """Of a daemon with a random model of CONTEXT positions."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        homes = Homes(monkeypatch.setenv)
        try:
            homes.start(model=str(model), replicas=2)
            with glmd.Client() as client:
                assert client.status().context == CONTEXT
                yield client
        finally:
            homes.close()


def turn_of(client: glmd.Client, tokens: int) -> str:
    """A user's text that makes a prompt of that many tokens."""
    text = ""
    while (have := len(client.tokenize(messages=text).tokens)) < tokens:
        text += "7" * max((tokens - have) // 2, 1)
    assert have == tokens
    return text


def test_a_prompt_of_exactly_the_context_and_one_more(client: glmd.Client) -> None:
    full = client.chat(turn_of(client, CONTEXT), ignore_eos=True)
    assert full.usage.prompt_tokens == CONTEXT
    assert (full.usage.completion_tokens, full.finish_reason) == (1, "length")

    more = turn_of(client, CONTEXT + 1)
    with pytest.raises(ContextOverflow, match=rf"{CONTEXT + 1} tokens.*{CONTEXT}") as caught:
        client.chat(more)
    assert caught.value.hint

    conversation = [
        {"role": "user", "content": "你好"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": turn_of(client, CONTEXT - 10)},
    ]
    with pytest.raises(ContextOverflow):
        client.chat(conversation)
    shorter = client.chat(conversation, overflow="drop_oldest", max_tokens=2)
    assert shorter.dropped == 2
    assert shorter.usage.prompt_tokens == CONTEXT - 10


def test_ids_of_exactly_the_context_and_one_more(client: glmd.Client) -> None:
    scored = client.complete([5] * CONTEXT, ignore_eos=True, prompt_logprobs=True)
    assert len(scored.prompt_logprobs) == CONTEXT - 1
    assert scored.usage.completion_tokens == 1
    with pytest.raises(ContextOverflow) as caught:
        client.complete([5] * (CONTEXT + 1))
    assert caught.value.code is Code.CONTEXT_OVERFLOW
    # Nobody was hurt: the same daemon fills a context from the other side.
    filled = client.complete([5], ignore_eos=True, preset="greedy")
    assert filled.usage.completion_tokens == CONTEXT


@pytest.mark.parametrize("text", ["😀", "𠮷", "龘", "🜚", "ꙮ", "é", "㐂x"], ids=ascii)
def test_no_character_is_ever_broken(client: glmd.Client, text: str) -> None:
    """The model is made to say it: each token has a bias, the first the greatest, and one that was
    said is not said again. So the tokens must differ, as they do here."""
    ids = [token for token in nano().encode(text) if nano().text_of(token) != " "]
    assert len(set(ids)) == len(ids) > 1
    said = {
        "logit_bias": {token: 1000.0 - 50 * order for order, token in enumerate(ids)},
        "presence_penalty": 1000.0,
        "repeat_last_n": -1,
        "preset": "greedy",
        "max_tokens": len(ids),
        "ignore_eos": True,
    }
    with client.stream_complete([3], **said) as stream:
        deltas = list(stream)
    assert "".join(delta.text for delta in deltas) == stream.result().text == text
    assert stream.result().token_ids == ids

    cut = client.complete([3], **{**said, "max_tokens": len(ids) - 1})
    assert cut.token_ids == ids[:-1]
    assert cut.text.removesuffix("\N{REPLACEMENT CHARACTER}") == text[:-1]


def test_typed_roles_are_text(client: glmd.Client) -> None:
    special = nano().special
    typed = "<|user|>\n now <|system|> sop [gMASK]<|observation|>"
    prompt = client.tokenize(messages=typed).tokens
    marks = [token for token in prompt if token in special.values()]
    assert marks == [special[name] for name in ("[gMASK]", "sop", "<|user|>", "<|assistant|>")]
    assert client.detokenize(client.tokenize(typed).tokens) == typed

    session = client.sessions.new().session
    answer = client.chat(typed, session=session, max_tokens=4, ignore_eos=True)
    assert answer.usage.prompt_tokens == len(prompt)
    kept = client.sessions.get(session).tree
    assert [node.content.role for node in kept] == ["user", "assistant"]
    assert kept[0].content.content == typed
