"""The sampler chain of one answer: native stages in C++, plugin stages in Python, then the draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from glmd.daemon.engine.messages import Logprob, Submit
from glmd.daemon.engine.stages import BUILTIN, is_greedy
from glmd.daemon.native._engine import Result, SamplerChain, Want, draw, top_logprobs
from glmd.errors import Code, EngineFailed, InvalidRequest
from glmd.sampler import Sampler, SamplerContext
from glmd.wire.sampling import Stage


class Segment(Protocol):
    """A stretch of the chain: consecutive native stages, or one plugin stage."""

    def apply(
        self, logits: NDArray[np.float32], history: NDArray[np.int32], index: int
    ) -> None: ...


class Chain:
    """Chooses the tokens of one answer.

    `want` is what the backend has to give for the next token: only the token where the chain is
    greedy, the candidates of the device's head where the model gives nothing more, else logits.
    """

    def __init__(
        self,
        submit: Submit,
        choice: int,
        *,
        vocab: int,
        outputs: Collection[Want],
        samplers: Mapping[str, Sampler] = {},
        vocab_bytes: Sequence[bytes] = (),
    ) -> None:
        """`vocab`: length of a logits row. `outputs`: what the backend can give. `samplers`: the
        plugin stages by name, with `vocab_bytes` for their context. Raises InvalidRequest for a
        stage nobody has, parameters it cannot have or what a plugin's sampler refuses, EngineFailed
        when a plugin's sampler does not start."""
        self._seed = submit.seed
        self._choice = choice
        self._prompt_length = len(submit.prompt)
        self._logprobs = submit.logprobs
        self._accepted = self._prompt_length
        self._accepts: list[Callable[[int], None]] = []
        self.want = _want(submit, outputs)
        context = SamplerContext(
            vocab, frozenset(submit.stop_ids), submit.seed, choice, self._prompt_length, vocab_bytes
        )
        self._segments: list[Segment] = []
        if self.want is Want.logits:
            for stages in _cut(submit.stages):
                self._segments.append(self._segment(stages, context, samplers))

    def sample(self, result: Result, history: NDArray[np.int32]) -> tuple[int, Logprob | None]:
        """The next token, and its log-probability if those were asked for.

        `history`: int32 ids known so far, prompt first. `result` answers a span that asked for
        `want`; its logits are used up. Raises EngineFailed when they cannot be sampled from,
        InvalidRequest when a plugin's sampler finds out only now what the request got wrong."""
        if self.want is Want.token:
            return result.token, None
        index = len(history) - self._prompt_length
        try:
            if self.want is Want.candidates:
                return self._draw_candidate(result, index), None
            return self._draw(result, history, index)
        except ValueError as error:
            raise EngineFailed(f"No token can be sampled: {error}.") from error

    def _draw(
        self, result: Result, history: NDArray[np.int32], index: int
    ) -> tuple[int, Logprob | None]:
        logits = result.logits
        if logits is None:
            raise ValueError("the backend gave no logits although they were asked for")
        for token in history[self._accepted :].tolist():
            for accept in self._accepts:
                accept(token)
        self._accepted = len(history)
        model = logits if self._logprobs is None else logits.copy()
        for segment in self._segments:
            segment.apply(logits, history, index)
        token = draw(logits, seed=self._seed, choice=self._choice, index=index)
        return token, None if self._logprobs is None else logprob(model, token, self._logprobs)

    def _draw_candidate(self, result: Result, index: int) -> int:
        with np.errstate(divide="ignore"):
            logits = np.log(result.candidate_probs)
        place = draw(logits, seed=self._seed, choice=self._choice, index=index)
        return int(result.candidate_ids[place])

    def _segment(
        self,
        stages: list[tuple[int, Stage]],
        context: SamplerContext,
        samplers: Mapping[str, Sampler],
    ) -> Segment:
        first, stage = stages[0]
        if stage.name in BUILTIN:
            try:
                return SamplerChain(
                    context.vocab,
                    [(stage.name, stage.params) for _, stage in stages],
                    seed=context.seed,
                    choice=context.choice,
                    first_stage=first,
                )
            except ValueError as error:
                raise InvalidRequest(f"The sampler chain cannot be made: {error}.") from error
        if stage.name not in samplers:
            raise InvalidRequest(
                f"There is no sampler stage {stage.name!r}.",
                hint=f"The built-in ones are {', '.join(BUILTIN)}.",
            )
        plugin = PluginStage(
            samplers[stage.name], stage.params, msgspec.structs.replace(context, stage=first)
        )
        self._accepts.append(plugin.accept)
        return plugin


class PluginStage:
    """A plugin's sampler at work on one answer. What goes wrong in it is EngineFailed with the
    plugin's name, unless the sampler says that the request is at fault: InvalidRequest."""

    def __init__(self, sampler: Sampler, params: dict[str, Any], context: SamplerContext) -> None:
        self._name = sampler.name
        with self._blamed("did not start"):
            self._state = sampler.start(msgspec.convert(params, sampler.Params), context)
        self._accept: Callable[[int], None] | None = getattr(self._state, "accept", None)

    def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32], index: int) -> None:
        _require_finite_maximum(logits)
        view = history.view()
        view.flags.writeable = False
        with self._blamed(f"failed at token {index}"):
            self._state.apply(logits, view)
            _require_finite_maximum(logits)

    def accept(self, token: int) -> None:
        if self._accept is not None:
            with self._blamed(f"did not accept token {token}"):
                self._accept(token)

    @contextmanager
    def _blamed(self, what: str) -> Iterator[None]:
        try:
            yield
        except InvalidRequest:
            raise
        except (Exception, SystemExit) as error:
            raise EngineFailed(
                f"The sampler {self._name!r} {what}: {type(error).__name__}: {error}",
                code=Code.PLUGIN_ERROR,
                plugin=self._name,
            ) from error


def logprob(logits: NDArray[np.float32], token: int, k: int) -> Logprob:
    """How likely `token` and the `k` most likely ids are under `logits`, float32 [vocab]. Raises
    ValueError when a logit is NaN or +inf, or when none is finite."""
    return Logprob(*top_logprobs(logits, token, k))


def _require_finite_maximum(logits: NDArray[np.float32]) -> None:
    if not math.isfinite(logits.max()):  # NaN wins every comparison of max
        raise ValueError("a logit is NaN or +inf, or none is left above -inf")


def _want(submit: Submit, outputs: Collection[Want]) -> Want:
    if submit.logprobs is None and Want.token in outputs and is_greedy(submit.stages):
        return Want.token
    if Want.candidates in outputs and Want.logits not in outputs:
        return Want.candidates
    return Want.logits


def _cut(stages: Sequence[Stage]) -> Iterator[list[tuple[int, Stage]]]:
    """Stages with their places in the chain: native neighbours together, plugin stages alone."""
    for native, run in groupby(enumerate(stages), key=lambda item: item[1].name in BUILTIN):
        together = list(run)
        if native:
            yield together
        else:
            yield from ([item] for item in together)
