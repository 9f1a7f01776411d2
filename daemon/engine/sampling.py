"""The sampler chain of one answer: native stages in C++, plugin stages in Python, then the draw."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from glmd.daemon.engine.messages import Logprob, Submit
from glmd.daemon.engine.penalty_head import penalty_head
from glmd.daemon.engine.stages import BUILTIN, greatest_needed, is_greedy
from glmd.daemon.native._engine import HeadSettings, Result, SamplerChain, Want, draw, top_logprobs
from glmd.errors import EngineFailed, InvalidRequest, Unsupported
from glmd.plugin_stage import PluginStage
from glmd.sampler import Sampler, SamplerContext
from glmd.wire.sampling import Stage


class Segment(Protocol):
    """A stretch of the chain: consecutive native stages, or one plugin stage."""

    def apply(
        self, logits: NDArray[np.float32], history: NDArray[np.int32], index: int
    ) -> None: ...


class PluginSampler(NamedTuple):
    """A plugin's sampler as a chain gets it: whose it is, and what to enter around its code."""

    sampler: Sampler
    plugin: str = ""
    watch: AbstractContextManager[object] | None = None


class Chain:
    """Chooses the tokens of one answer.

    `want` is what the backend has to give for the next token: only the token where the chain is
    greedy, the candidates of the device's penalty head where the chain does what that does, else
    logits. `keep`: how many of the greatest of these it looks at, 0 for all.
    """

    def __init__(
        self,
        submit: Submit,
        choice: int,
        *,
        vocab: int,
        outputs: Collection[Want],
        samplers: Mapping[str, PluginSampler] = {},
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
        self._plugins: list[PluginStage] = []
        self._penalty_head = penalty_head(submit.stages)
        self.want = self._choose_want(submit, outputs)
        self.keep = greatest_needed(submit.stages) if submit.logprobs is None else 0
        context = SamplerContext(
            vocab, frozenset(submit.stop_ids), submit.seed, choice, self._prompt_length, vocab_bytes
        )
        self._segments: list[Segment] = []
        if self.want is Want.logits:
            for stages in _cut(submit.stages):
                self._segments.append(self._segment(stages, context, samplers))
        self._take_up(submit, choice)

    def head(self, history: NDArray[np.int32]) -> HeadSettings | None:
        """What a span that asks for `want` tells the device's head. `history` as for sample()."""
        if self.want is not Want.candidates or self._penalty_head is None:
            return None
        return self._penalty_head.settings(history)

    def _choose_want(self, submit: Submit, outputs: Collection[Want]) -> Want:
        if submit.logprobs is None:
            if Want.token in outputs and is_greedy(submit.stages):
                return Want.token
            if Want.candidates in outputs and self._penalty_head is not None:
                return Want.candidates
        if Want.logits in outputs:
            return Want.logits
        raise Unsupported("This model gives no logits, and the sampler stages need them.")

    def sample(self, result: Result, history: NDArray[np.int32]) -> tuple[int, Logprob | None]:
        """The next token, and its log-probability if those were asked for.

        `history`: int32 ids known so far, prompt first. `result` answers a span that asked for
        `want`; its logits are used up. Raises EngineFailed when they cannot be sampled from,
        InvalidRequest when a plugin's sampler finds out only now what the request got wrong."""
        if self.want is Want.token:
            if result.token < 0:
                raise EngineFailed("No token can be sampled: no logit is a number.")
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
            self._accept(token)
        self._accepted = len(history)
        model = logits if self._logprobs is None else logits.copy()
        for segment in self._segments:
            segment.apply(logits, history, index)
        token = draw(logits, seed=self._seed, choice=self._choice, index=index)
        if self._plugins:
            self._accept(token)
            self._accepted += 1
        return token, None if self._logprobs is None else logprob(model, token, self._logprobs)

    def states(self) -> list[bytes]:
        """What the plugin stages need to go on behind the token that was last sampled; none where
        the history is enough for all of them."""
        if not any(stage.saves for stage in self._plugins):
            return []
        return [stage.save() for stage in self._plugins]

    def _take_up(self, submit: Submit, choice: int) -> None:
        """Put the plugin stages where they were behind the tokens that are forced. Those without a
        saved state accept these tokens one by one."""
        saved = submit.states.get(choice)
        if saved is None:
            return
        forced = dict(submit.choices)[choice]
        for stage, state in zip(self._plugins, saved, strict=True):
            if stage.saves:
                stage.load(state)
            else:
                for token in forced:
                    stage.accept(token)
        self._accepted += len(forced)

    def _accept(self, token: int) -> None:
        for stage in self._plugins:
            stage.accept(token)

    def _draw_candidate(self, result: Result, index: int) -> int:
        with np.errstate(divide="ignore"):
            logits = np.log(result.candidate_probs)
        place = draw(logits, seed=self._seed, choice=self._choice, index=index)
        return int(result.candidate_ids[place])

    def _segment(
        self,
        stages: list[tuple[int, Stage]],
        context: SamplerContext,
        samplers: Mapping[str, PluginSampler],
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
        sampler, plugin, watch = samplers[stage.name]
        context = msgspec.structs.replace(context, stage=first)
        made = PluginStage(sampler, stage.params, context, plugin=plugin, watch=watch)
        self._plugins.append(made)
        return made


def logprob(logits: NDArray[np.float32], token: int, k: int) -> Logprob:
    """How likely `token` and the `k` most likely ids are under `logits`, float32 [vocab]. Raises
    ValueError when a logit is NaN or +inf, or when none is finite."""
    return Logprob(*top_logprobs(logits, token, k))


def _cut(stages: Sequence[Stage]) -> Iterator[list[tuple[int, Stage]]]:
    """Stages with their places in the chain: native neighbours together, plugin stages alone."""
    for native, run in groupby(enumerate(stages), key=lambda item: item[1].name in BUILTIN):
        together = list(run)
        if native:
            yield together
        else:
            yield from ([item] for item in together)
