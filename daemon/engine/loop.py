"""The busy loop: take commands, admit, plan, forward, sample, tell the core."""

from __future__ import annotations

import time
from collections import deque
from functools import partial

import numpy as np

from glmd.bmodel.estimates import Estimates
from glmd.daemon.engine.check import check
from glmd.daemon.engine.chips import chip_facts
from glmd.daemon.engine.faults import failed
from glmd.daemon.engine.inbox import Inbox
from glmd.daemon.engine.memory import available_memory
from glmd.daemon.engine.messages import (
    AnyCommand,
    Cancel,
    Forget,
    Import,
    Logprob,
    Prefilled,
    PromptLogprobs,
    Report,
    Step,
    Stop,
    Submit,
    Token,
    Vocabulary,
)
from glmd.daemon.engine.outbox import Outbox
from glmd.daemon.engine.plugins import Plugins
from glmd.daemon.engine.sampling import Chain, logprob
from glmd.daemon.engine.scheduler import scheduler
from glmd.daemon.engine.sequence import Request, Sequence
from glmd.daemon.engine.shelf import SHARE, Shelf, Shelved
from glmd.daemon.engine.slots import Place, Slot, Slots
from glmd.daemon.engine.work import Call, Work
from glmd.daemon.native._engine import (
    Backend,
    EngineError,
    Result,
    Span,
    StepCancelled,
    Want,
)
from glmd.errors import EngineFailed

# Seconds between two reports, and the longest silence of a loop that has work.
REPORT_INTERVAL = 1.0


class Loop:
    """Serves requests on one backend until it is told to stop. Runs in the main thread, which
    alone calls the backend. `estimates`: what steps are expected to take, as far as is known."""

    def __init__(
        self,
        backend: Backend,
        inbox: Inbox,
        outbox: Outbox,
        plugins: Plugins,
        estimates: Estimates,
    ) -> None:
        self._backend = backend
        self._can = backend.capabilities
        self._context = backend.info.max_seq
        self._vocab = backend.info.vocab
        self._inbox = inbox
        self._outbox = outbox
        self._plugins = plugins
        room = int(SHARE * available_memory()) if self._can.saved_bytes else 0
        self._slots = Slots(self._can.slots, Shelf(room))
        self._scheduler = scheduler(self._can, estimates)
        self._requests: dict[int, Request] = {}
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._steps = 0
        self._tokens: list[Token] = []
        self._decodes: list[int] = []
        self._report = Report(slots_busy=0)
        self._reported = 0.0

    def run(self) -> None:
        self._say_how_it_is()
        self._reported = 0.0  # the first request is told of at once
        self._outbox.flush()
        while True:
            for command in self._inbox.take(self._patience()):
                if isinstance(command, Stop):
                    return
                self._obey(command)
            self._admit()
            if self._running:
                self._step()
            self._say_how_it_is()
            self._outbox.flush()

    def _patience(self) -> float | None:
        """Seconds to wait for a command when there is nothing else to do."""
        if self._running or self._waiting:
            return 0
        if self._report.devices:  # chips get warm and cool by themselves
            return max(self._reported + REPORT_INTERVAL - time.monotonic(), 0.001)
        return None

    # -- commands ------------------------------------------------------------------------------

    def _obey(self, command: AnyCommand) -> None:
        if isinstance(command, Submit):
            try:
                self._accept(command)
            except Exception as error:
                self._outbox.put(failed(command.id, error))
        elif isinstance(command, Vocabulary | Import | Forget):
            self._plugins.obey(command)
        elif isinstance(command, Cancel) and command.id in self._requests:
            request = self._requests[command.id]
            for sequence in [s for s in request.sequences if command.choice in {None, s.choice}]:
                self._end(sequence)

    def _accept(self, submit: Submit) -> None:
        outputs = self._can.outputs
        check(submit, vocab=self._vocab, context=self._context, outputs=outputs)
        request = Request(submit)
        for choice, forced in submit.choices:
            chain = Chain(
                submit,
                choice,
                vocab=self._vocab,
                outputs=outputs,
                samplers=self._plugins.samplers(submit.plugins),
                vocab_bytes=self._plugins.vocab_bytes,
            )
            request.sequences.append(Sequence(request, choice, forced, chain, self._context))
        self._requests[request.id] = request
        self._waiting.extend(request.sequences)

    # -- admission -----------------------------------------------------------------------------

    def _admit(self) -> None:
        """Give slots to those who wait, in order. The choices of a request wait until the first of
        them has computed the prompt: then they share it."""
        for sequence in list(self._waiting):
            request = sequence.request
            if request.id not in self._requests:  # failed with the choice before
                continue
            if any(other.slot and other.prefilling for other in request.sequences):
                continue
            keep = partial(self._scheduler.reusable, self._running, sequence.prompt_length)
            place = self._slots.take(request.prompt, keep if request.scores is None else _nothing)
            if place is None:
                return
            slot = place.slot
            try:
                self._arrange(place)
            except EngineError as error:
                self._slots.give_back(slot)
                slot.clear()
                self._fail(request, error)
                continue
            slot.tokens, slot.length = sequence.history, place.cached
            sequence.slot = slot
            sequence.scored = request.scores is not None
            if request.cached is None:
                request.cached = place.cached
            self._waiting.remove(sequence)
            self._running.append(sequence)

    def _arrange(self, place: Place) -> None:
        """Make the slot hold what the place says."""
        slot, source = place.slot, place.source
        if place.shelves:
            self._backend.truncate(slot.index, slot.length)
            saved = self._backend.save(slot.index)
            self._slots.shelf.put(Shelved(slot.held.copy(), saved))
        if isinstance(source, Shelved):
            self._backend.restore(slot.index, source.saved)
            if 2 * place.cached >= len(source.tokens):
                self._slots.shelf.remove(source)
        elif source is not slot:
            self._backend.copy_prefix(source.index, slot.index, place.cached)
            return
        self._backend.truncate(slot.index, place.cached)

    # -- one step ------------------------------------------------------------------------------

    def _step(self) -> None:
        self._steps += 1
        for call in self._scheduler.plan(self._running):
            self._forward(call)
            if self._tokens or self._outbox.silence > REPORT_INTERVAL:
                self._outbox.put(Step(self._tokens))
                self._tokens = []
            self._outbox.flush()

    def _forward(self, call: Call) -> None:
        call = [work for work in call if work.sequence.slot]  # a call before may have ended it
        if not call:
            return
        spans: list[Span] = []
        for work in call:
            spans += _spans(work)
        self._inbox.begin((w.sequence.request.id, w.sequence.choice) for w in call)
        start = time.monotonic()
        try:
            results = self._backend.forward(spans, self._inbox.cancel)
        except StepCancelled:
            return
        except EngineError as error:
            for request in {work.sequence.request for work in call}:
                self._fail(request, error)
            return
        finally:
            self._inbox.end()
        self._scheduler.measured(call, time.monotonic() - start)
        self._count(call)
        following = iter(results)
        for work in call:
            answers = work.n if work.sequence.scored else 1 + len(work.guess)
            mine = [next(following) for _ in range(answers)]
            self._take_in(work, mine)

    def _count(self, call: Call) -> None:
        """Among the decodes, if some of its answers get a token that go on."""
        together = sum(work.n == 1 for work in call)
        if together:
            self._decodes += [0] * (together - len(self._decodes))
            self._decodes[together - 1] += 1

    def _take_in(self, work: Work, results: list[Result]) -> None:
        """The KV cache has grown by `work`; sample if that was all that is known."""
        sequence, slot = work.sequence, work.sequence.slot
        request = sequence.request
        if slot is None:
            return  # another choice of its request has just failed
        slot.length += work.n
        sequence.served = self._steps
        try:
            if sequence.scored:
                self._score(sequence, slot.length - work.n, results)
            if not request.prefilled:
                self._tell_prefilled(sequence)
            if slot.length == sequence.length:
                self._sample(sequence, results[-1 - len(work.guess)])
            if len(work.guess):
                self._judge(work, slot, results[1:])
        except Exception as error:
            self._fail(request, error)

    def _judge(self, work: Work, slot: Slot, results: list[Result]) -> None:
        """Go on behind what was guessed as long as it is what was sampled, and forget the rest."""
        sequence, right = work.sequence, 0
        for token, result in zip(work.guess.tolist(), results, strict=True):
            if not sequence.slot or sequence.history[slot.length] != token:
                break
            right += 1
            slot.length += 1
            self._sample(sequence, result)
        sequence.lookup.judged(right)
        self._backend.truncate(slot.index, slot.length)

    def _score(self, sequence: Sequence, start: int, results: list[Result]) -> None:
        request = sequence.request
        if request.scores is None:
            return
        following = sequence.history[start + 1 : sequence.prompt_length].tolist()
        k = request.submit.logprobs or 0
        for token, result in zip(following, results, strict=False):
            request.scores.append(_logprob(result, token, k))
        if sequence.prompt_left == 0:
            self._outbox.put(PromptLogprobs(request.id, request.scores))
            request.scores, sequence.scored = None, False

    def _tell_prefilled(self, sequence: Sequence) -> None:
        request = sequence.request
        total = sequence.prompt_length
        done = total - max(sequence.prompt_left, 0)
        request.prefilled = done == total
        self._outbox.put(Prefilled(request.id, done, total, request.cached or 0))

    def _sample(self, sequence: Sequence, result: Result) -> None:
        id, choice = sequence.request.id, sequence.choice
        if sequence.complete:
            self._tokens.append(Token(id, choice, -1, "length"))
            self._end(sequence)
            return
        token, scored = sequence.chain.sample(result, sequence.history[: sequence.length])
        finish = sequence.append(token)
        states = [] if finish else sequence.chain.states()
        self._tokens.append(Token(id, choice, token, finish, scored, states))
        if finish:
            self._end(sequence)

    # -- endings -------------------------------------------------------------------------------

    def _fail(self, request: Request, error: Exception) -> None:
        """End a request. Its KV cache is not trusted any further."""
        for sequence in list(request.sequences):
            slot = sequence.slot
            self._end(sequence)
            if slot:
                slot.clear()
        self._tokens = [token for token in self._tokens if token.id != request.id]
        self._outbox.put(failed(request.id, error))

    def _end(self, sequence: Sequence) -> None:
        request = sequence.request
        request.sequences.remove(sequence)
        if not request.sequences:
            del self._requests[request.id]
        if sequence.slot:
            self._slots.give_back(sequence.slot)
            sequence.slot = None
            self._running.remove(sequence)
        else:
            self._waiting.remove(sequence)

    def _say_how_it_is(self) -> None:
        now, told = time.monotonic(), self._report
        # That all is quiet now is said at once: who has read an answer finds it counted.
        quiet = not self._running and not self._waiting
        ended = quiet and (told.slots_busy, told.decodes) != (self._slots.busy, self._decodes)
        if now - self._reported < REPORT_INTERVAL and not ended:
            return
        chips = [chip_facts(stats) for stats in self._backend.stats()]
        report = Report(self._slots.busy, chips, list(self._decodes))
        if report != told:
            self._outbox.put(report)
        self._report, self._reported = report, now


def _spans(work: Work) -> list[Span]:
    sequence, n, guess = work
    slot = sequence.slot
    if slot is None:
        return []
    start, end = slot.length, slot.length + n
    last = end == sequence.length and not sequence.complete
    want, keep = (sequence.chain.want, sequence.chain.keep) if last else (Want.none, 0)
    if not sequence.scored:
        head = sequence.chain.head(sequence.history[:end]) if last else None
        known = Span(slot.index, start, sequence.history[start:end], want, head, keep)
        guessed = enumerate(np.split(guess, len(guess)) if len(guess) else [], end)
        return [known, *(Span(slot.index, i, token, want, keep=keep) for i, token in guessed)]
    # The logits at a position are those of the token that follows it.
    wants = [Want.logits if i + 1 < sequence.prompt_length else want for i in range(start, end)]
    return [
        Span(slot.index, i, sequence.history[i : i + 1], w)
        for i, w in zip(range(start, end), wants, strict=True)
    ]


def _logprob(result: Result, token: int, k: int) -> Logprob:
    try:
        if result.logits is None:
            raise ValueError("the backend gave no logits although they were asked for")
        return logprob(result.logits, token, k)
    except ValueError as error:
        raise EngineFailed(f"No log-probability can be computed: {error}.") from error


def _nothing(shared: int) -> int:
    """Log-probabilities of a prompt need all of it computed."""
    return 0
