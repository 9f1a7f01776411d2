"""Log-probabilities of ids, with their texts."""

from __future__ import annotations

from glmd.daemon.engine.messages import Logprob
from glmd.daemon.tokenizer.tokenizer import Tokenizer
from glmd.wire.replies import TokenLogprob


def token_logprob(tokenizer: Tokenizer, token: int, logprob: Logprob) -> TokenLogprob:
    """What the engine says about `token`, as a client reads it."""
    return TokenLogprob(
        token=token,
        text=tokenizer.text_of(token),
        logprob=logprob.logprob,
        top=[(other, tokenizer.text_of(other), value) for other, value in logprob.top],
    )
