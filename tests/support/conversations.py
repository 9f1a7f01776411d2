"""Conversations of several turns that one backend serves at once, and what becomes of each where it
is alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from support.backends import Engine, append
from support.simulated import Step

# Two recipes compute the same in another order. Their logits for a small model differ by up to 0.01
# in F16; two logits that are nearer to each other than twice that may change places.
TIE = 0.02


@dataclass
class Conversation:
    """`turns`: ids of the questions; `most`: tokens of each answer, which ends before that with one
    of `stops`; `start`: the step in which the first question is asked."""

    turns: Sequence[list[int]]
    most: Sequence[int]
    start: int
    stops: Collection[int] = ()
    ids: list[int] = field(default_factory=list)
    done: int = 0  # of the ids, on the chip
    prompts: list[list[int]] = field(default_factory=list)  # as each question makes it
    made: list[list[int]] = field(default_factory=list)

    @property
    def answered(self) -> bool:
        """Whether the present question is, or there is none yet."""
        if not self.made:
            return True
        answer = self.made[-1]
        most = self.most[len(self.made) - 1]
        return len(answer) == most or bool(answer and answer[-1] in self.stops)

    def ask(self) -> bool:
        """Whether there is another turn; its question is then among the ids, behind an answer
        without the token that ended it."""
        if len(self.made) == len(self.turns):
            return False
        if self.made and self.made[-1][-1] in self.stops:
            del self.ids[-1]
        self.ids += self.turns[len(self.made)]
        self.prompts.append(list(self.ids))
        self.made.append([])
        return True

    def answer(self, token: int) -> None:
        self.ids.append(token)
        self.made[-1].append(token)


def serve(engine: Engine, all: Sequence[Conversation]) -> None:
    """Each in a slot of its own, all in every step: those who answer with their next token, others
    with a piece of their question. The last token of an answer is computed with the next one."""
    facts = engine.call("facts")
    waiting = dict(enumerate(all))
    for step in range(1000):
        steps: list[Step] = []
        for slot, one in list(waiting.items()):
            if step < one.start:
                continue
            if one.answered and not one.ask():
                del waiting[slot]
                continue
            longest = facts["chunk_lengths" if one.done else "prefill_lengths"][-1]
            piece = one.ids[one.done : one.done + longest]
            last = one.done + len(piece) == len(one.ids)
            steps.append(Step(slot, one.done, piece, "token" if last else "none"))
        if not waiting:
            return
        for found, asked in zip(engine.forward(*steps), steps, strict=True):
            all[asked.slot].done = asked.pos + len(asked.tokens)
            if asked.want == "token":
                all[asked.slot].answer(found.token)
    raise AssertionError("conversations that do not end")


def check_alone(engine: Engine, one: Conversation) -> int:
    """Go through a conversation in slot 0 with nobody else there. Returns how many of its tokens
    are not the most likely ones, but as likely as those but for TIE; raises AssertionError for any
    other difference."""
    ties = 0
    for prompt, answer in zip(one.prompts, one.made, strict=True):
        ids, pos = list(prompt), 0  # each turn from the beginning, as the vendor's demos do it
        for token in answer:
            if append(engine, 0, pos, ids[pos:], "token").token != token:
                logits = append(engine, 0, pos, ids[pos:], "logits").logits
                assert logits is not None
                behind = float(logits.max() - logits[token])
                assert behind <= TIE, f"token {token} is {behind} behind {logits.argmax()}"
                ties += 1
            pos = len(ids)
            ids.append(token)
    return ties
