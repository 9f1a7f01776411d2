"""From what a client asks to what the pool is given. Pure functions of the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from glmd.chat import Message
from glmd.daemon.chat.answer import AnswerParser
from glmd.daemon.chat.conversation import check_conversation
from glmd.daemon.chat.prompt import Prompt, fit, render
from glmd.daemon.plugins.version import Offer
from glmd.daemon.pool.job import Job
from glmd.daemon.request.choice import Choice
from glmd.daemon.request.pool import Model
from glmd.daemon.request.sampling import dry_breakers, resolve
from glmd.daemon.tokenizer.tokenizer import Tokenizer
from glmd.errors import ContextOverflow, InvalidRequest, Unsupported
from glmd.wire.requests import Chat, Complete

# Tokens of an answer for which the oldest turns are dropped, if the answer may have as many.
RESERVE = 256


class Prepared(NamedTuple):
    """`dropped`: oldest messages left out of the prompt. `choices`: where the answers arrive."""

    job: Job
    dropped: int
    choices: list[Choice]


def prepare_chat(
    tokenizer: Tokenizer,
    model: Model,
    request: Chat,
    history: Sequence[Message],
    principal: str,
    plugins: Mapping[str, Offer] = {},
) -> Prepared:
    """`history`: what the session holds before the request's own messages. `plugins`: the samplers
    that it may name. Raises InvalidRequest,
    ContextOverflow or Unsupported."""
    messages = [*history, *request.messages]
    check_conversation(messages, request.tools, kept=len(history))
    reserve = min(RESERVE, model.context // 4)
    if request.max_tokens is not None:
        reserve = min(reserve, request.max_tokens)
    prompt = fit(
        tokenizer,
        render(tokenizer, messages, request.tools),
        model.context,
        drop=request.overflow == "drop_oldest",
        reserve=reserve,
    )
    tools = [tool.name for tool in request.tools]
    choices = [Choice(tokenizer, request.stop, AnswerParser(tools)) for _ in range(request.n)]
    return _prepared(tokenizer, model, request, prompt, choices, principal, plugins)


def prepare_complete(
    tokenizer: Tokenizer,
    model: Model,
    request: Complete,
    principal: str,
    plugins: Mapping[str, Offer] = {},
) -> Prepared:
    """A text is put behind `[gMASK] sop`, as every text that ChatGLM3 was trained on; ids are taken
    as they are. Either is then continued without roles. Raises InvalidRequest, ContextOverflow or
    Unsupported."""
    if isinstance(request.prompt, str):
        start = [tokenizer.special["[gMASK]"], tokenizer.special["sop"]]
        ids = start + tokenizer.encode(request.prompt)
    else:
        ids = request.prompt
        _check_ids(ids, model.vocab)
    if len(ids) > model.context:
        raise ContextOverflow(
            f"The prompt has {len(ids)} tokens and the context holds {model.context}.",
            hint="Shorten it.",
        )
    continues = any(map(tokenizer.bytes_of, ids))
    choices = [Choice(tokenizer, request.stop, None, continues=continues) for _ in range(request.n)]
    return _prepared(tokenizer, model, request, Prompt(ids), choices, principal, plugins)


def _prepared(
    tokenizer: Tokenizer,
    model: Model,
    request: Chat | Complete,
    prompt: Prompt,
    choices: list[Choice],
    principal: str,
    plugins: Mapping[str, Offer],
) -> Prepared:
    scores = isinstance(request, Complete) and request.prompt_logprobs
    if (scores or request.logprobs is not None) and "logits" not in model.outputs:
        raise Unsupported(
            "Log-probabilities were asked for, and this model gives token ids without logits.",
            hint="Leave logprobs out, or load a model whose lm_head gives logits.",
        )
    sampling = resolve(
        request.sampling,
        model.outputs,
        vocab=model.vocab,
        breakers=dry_breakers(tokenizer),
        plugins=plugins,
    )
    # The last token of a full context is never computed, so it needs no position.
    room = model.context - len(prompt.ids) + 1
    job = Job(
        prompt=prompt.ids,
        stages=sampling.stages,
        seed=sampling.seed,
        stop_ids=[] if request.ignore_eos else list(tokenizer.stop_ids),
        max_tokens=room if request.max_tokens is None else min(request.max_tokens, room),
        n=request.n,
        logprobs=request.logprobs,
        prompt_logprobs=scores,
        principal=principal,
        affinity=(request.session or "") if isinstance(request, Chat) else "",
        plugins={s.name: plugins[s.name].version for s in sampling.stages if s.name in plugins},
    )
    return Prepared(job, prompt.dropped, choices)


def _check_ids(ids: Sequence[int], vocab: int) -> None:
    wrong = next((i for i in ids if not 0 <= i < vocab), None)
    if wrong is not None:
        raise InvalidRequest(
            f"The prompt has the token id {wrong}; the model's ids go from 0 to {vocab - 1}."
        )
