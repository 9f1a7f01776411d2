"""What a request must be before it is run.

The core has checked all this for people; here it is checked because a backend given a token or a
length that it cannot hold fails the step of everybody.
"""

from __future__ import annotations

from collections.abc import Collection

from glmd.daemon.engine.messages import Submit
from glmd.daemon.native._engine import Want
from glmd.errors import ContextOverflow, InvalidRequest, Unsupported


def check(submit: Submit, *, vocab: int, context: int, outputs: Collection[Want]) -> None:
    """Raises InvalidRequest, ContextOverflow and Unsupported."""
    if not submit.prompt:
        raise InvalidRequest("A prompt needs at least one token.")
    for tokens in (submit.prompt, *(forced for _, forced in submit.choices)):
        if tokens and not (min(tokens) >= 0 and max(tokens) < vocab):
            raise InvalidRequest(f"A token id is not one of 0 to {vocab - 1}.")
    if submit.max_tokens < 0:
        raise InvalidRequest(f"max_tokens cannot be {submit.max_tokens}.")
    if not 0 <= (submit.logprobs or 0) <= vocab:
        raise InvalidRequest(
            f"There are {vocab} tokens, not {submit.logprobs}, to give logprobs of."
        )
    longest = max((len(forced) for _, forced in submit.choices), default=0)
    if len(submit.prompt) > context or len(submit.prompt) + longest > context + 1:
        raise ContextOverflow(
            f"The prompt has {len(submit.prompt)} tokens; the context holds {context}.",
            hint="Shorten it, or ask for the oldest turns to be dropped.",
        )
    scored = submit.prompt_logprobs or submit.logprobs is not None
    if scored and Want.logits not in outputs:
        raise Unsupported("This model gives no logits, so there are no log-probabilities.")
