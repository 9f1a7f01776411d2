"""The engine child, one request after another and all at once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.checkpoints import Shape, random_tensors, write_checkpoint
from support.engine import GREEDY, EngineChild, engine_child, prompt, submit

from glmd.daemon.engine.messages import (
    Broken,
    Cancel,
    Failed,
    Prefilled,
    PromptLogprobs,
    Report,
    Step,
    Submit,
)
from glmd.wire.sampling import Stage

# Tokens drawn at random, but never the poisoned one.
NEVER_9 = [Stage("logit_bias", {"bias": [(9, -1e3)]}), Stage("temperature", {"temperature": 1.0})]


def with_id(request: Submit, id: int) -> Submit:
    return msgspec.structs.replace(request, id=id)


def test_it_says_what_it_has_loaded(tiny_model: Path) -> None:
    with engine_child(tiny_model, slots=3, context=100) as child:
        ready = child.ready()
    assert (ready.slots, ready.context, ready.vocab) == (3, 100, 320)
    assert (ready.mode, ready.backend) == ("f16", "cpu")
    assert set(ready.outputs) == {"token", "logits"}
    assert ready.model_bytes > 0


def test_what_cannot_be_loaded_is_said_in_a_sentence(tmp_path: Path) -> None:
    with engine_child(tmp_path / "nothing") as child:
        broken = child.until(Broken)
        assert str(tmp_path / "nothing") in broken.message
        assert child.ended_within(5)
        with pytest.raises(EOFError):
            child.receive()


def test_sixteen_at_once_answer_like_each_alone(tiny_model: Path) -> None:
    requests = [submit(i, prompt(5 + 13 * i, seed=i), 40) for i in range(1, 17)]
    with engine_child(tiny_model, slots=16) as child:
        child.ready()
        together = child.run(*requests)
    with engine_child(tiny_model, slots=1) as child:
        child.ready()
        alone = {}
        for request in requests:
            alone |= child.run(request)
    assert together == alone


def test_more_requests_than_slots_take_turns(child: EngineChild) -> None:
    requests = [submit(i, prompt(20, seed=i), 10) for i in range(100, 120)]
    answers = child.run(*requests)
    assert {len(tokens) for tokens in answers.values()} == {10}


def test_those_who_wait_are_admitted_when_everybody_ends_at_once(tiny_model: Path) -> None:
    with engine_child(tiny_model, slots=1) as child:
        child.ready()
        answers = child.run(*(submit(i, prompt(10, seed=i), 1) for i in range(1, 6)))
    assert len(answers) == 5


def test_a_prompt_that_is_known_is_not_computed_again(fresh: EngineChild) -> None:
    turn = prompt(100)
    answer = fresh.run(submit(1, turn, 20))[1, 0]
    fresh.run(submit(2, turn + answer + prompt(30, seed=5), 4))
    assert fresh.cached(1) == 0
    assert fresh.cached(2) == 119  # the last token of the answer was sampled, never computed
    fresh.run(submit(3, turn, 4))
    assert fresh.cached(3) == 99


def test_a_reused_prefix_changes_nothing(fresh: EngineChild, tiny_model: Path) -> None:
    common = prompt(60)
    requests = [submit(i, common + prompt(10 * i, seed=i), 16) for i in (1, 2, 3)]
    reusing = [fresh.run(request) for request in requests]
    assert [fresh.cached(i) for i in (1, 2, 3)] == [0, 60, 60]
    for request, answer in zip(requests, reusing, strict=True):
        with engine_child(tiny_model, slots=1) as child:
            child.ready()
            assert child.run(request) == answer


def test_a_running_conversation_lends_its_prefix(fresh: EngineChild) -> None:
    common = prompt(200)
    fresh.send(submit(1, common, 500))
    fresh.until(Step, lambda step: bool(step.tokens))
    fresh.send(submit(2, common + prompt(9, seed=1), 4))
    fresh.answers(2)
    assert fresh.cached(2) == 200
    fresh.send(Cancel(1))


def test_choices_answer_like_single_requests(fresh: EngineChild, tiny_model: Path) -> None:
    question = prompt(80)
    four = submit(1, question, 24, choices=[(i, []) for i in range(4)], seed=11)
    together = fresh.run(four)
    assert len({tuple(tokens) for tokens in together.values()}) == 4
    with engine_child(tiny_model, slots=1) as child:
        child.ready()
        for i in range(4):
            alone = child.run(msgspec.structs.replace(four, choices=[(i, [])]))
            assert alone[1, i] == together[1, i]


def test_choices_share_the_prefill(fresh: EngineChild) -> None:
    fresh.run(submit(1, prompt(600), 2, choices=[(i, []) for i in range(4)]))
    events = [e for e in fresh.events if isinstance(e, Prefilled)]
    assert [e.done for e in events] == sorted({e.done for e in events})
    assert (events[-1].done, events[-1].total, events[-1].cached) == (600, 600, 0)


def test_no_stream_waits_longer_than_one_chunk(fresh: EngineChild) -> None:
    fresh.send(submit(1, prompt(10), 1500))
    fresh.until(Step, lambda step: len(step.tokens) > 0)
    fresh.send(submit(2, prompt(1900, seed=2), 2))
    fresh.until(Prefilled, lambda e: e.id == 2 and e.done == e.total)
    fresh.send(Cancel(1), Cancel(2))
    tokens_between, prefills = 0, 0
    for event in fresh.events:
        if isinstance(event, Prefilled) and event.id == 2:
            assert prefills == 0 or tokens_between == 1
            prefills, tokens_between = prefills + 1, 0
        elif isinstance(event, Step):
            tokens_between += sum(token.id == 1 for token in event.tokens)
    assert prefills >= 4


def test_forced_tokens_are_not_sent_again_and_change_nothing(child: EngineChild) -> None:
    whole = child.run(submit(1, prompt(40), 30, seed=5))[1, 0]
    for cut in (1, 7, 29):
        forced = submit(1 + cut, prompt(40), 30, seed=5, choices=[(0, whole[:cut])])
        assert child.run(forced)[1 + cut, 0] == whole[cut:]


def test_penalties_see_forced_tokens(child: EngineChild) -> None:
    stages = [Stage("penalties", {"repeat": 1.6, "last_n": -1}), *GREEDY]
    request = submit(1, prompt(40), 30, stages=stages)
    whole = child.run(request)[1, 0]
    forced = msgspec.structs.replace(request, id=2, choices=[(0, whole[:15])])
    assert child.run(forced)[2, 0] == whole[15:]


def test_a_stop_id_ends_the_answer_and_is_its_last_token(child: EngineChild) -> None:
    free = child.run(submit(1, prompt(30), 20))[1, 0]
    at = next(i for i in range(5, 20) if free[i] not in free[:i])
    child.send(submit(2, prompt(30), 20, seed=1, stop_ids=[free[at], 319]))
    tokens = child.answers(2)[2, 0]
    assert [token.token for token in tokens] == free[: at + 1]
    assert [token.finish for token in tokens] == [None] * at + ["stop"]


def test_max_tokens_end_the_answer(child: EngineChild) -> None:
    child.send(submit(1, prompt(30), 3))
    assert [token.finish for token in child.answers(1)[1, 0]] == [None, None, "length"]


@pytest.mark.parametrize(("length", "answered"), [(256, 1), (255, 2), (250, 7)])
def test_a_full_context_ends_the_answer(tiny_model: Path, length: int, answered: int) -> None:
    with engine_child(tiny_model, slots=1, context=256) as child:
        child.ready()
        child.send(submit(1, prompt(length), 1000))
        tokens = child.answers(1)[1, 0]
    assert len(tokens) == answered
    assert tokens[-1].finish == "length"


def test_max_tokens_zero_only_fills_the_cache(fresh: EngineChild) -> None:
    assert fresh.run(submit(1, prompt(50), 0)) == {(1, 0): [-1]}
    fresh.run(submit(2, prompt(50), 1))
    assert fresh.cached(2) == 49


def test_greedy_equals_the_most_likely_token(child: EngineChild) -> None:
    greedy = child.run(submit(1, prompt(30), 12, stages=GREEDY))[1, 0]
    child.send(submit(2, prompt(30), 12, stages=GREEDY, logprobs=1))
    tokens = child.answers(2)[2, 0]
    assert [token.token for token in tokens] == greedy
    for token in tokens:
        assert token.logprob is not None
        ((best, value),) = token.logprob.top
        assert (best, value) == (token.token, token.logprob.logprob)


@pytest.mark.parametrize("max_tokens", [0, 5])
@pytest.mark.parametrize("stages", [GREEDY, [Stage("temperature", {"temperature": 0.7})]])
def test_prompt_logprobs_are_those_of_sampling(
    child: EngineChild, max_tokens: int, stages: list[Stage]
) -> None:
    question = prompt(70, seed=3)
    request = submit(1, question, max_tokens, stages=stages, prompt_logprobs=True, logprobs=2)
    answer = child.run(request)[1, 0]
    (scores,) = [e for e in child.events if isinstance(e, PromptLogprobs)]
    assert len(scores.items) == 69
    first = next(i for i, e in enumerate(child.events) if isinstance(e, Step) and e.tokens)
    assert child.events.index(scores) < first

    # The same positions, reached by decoding: the prompt's own tokens forced as an answer.
    for at in (1, 2, 33, 34, 69):
        child.send(submit(10 + at, question[:at], 1, stages=GREEDY, logprobs=320))
        (token,) = child.answers(10 + at)[10 + at, 0]
        assert token.logprob is not None
        everything = dict(token.logprob.top)
        assert everything[question[at]] == scores.items[at - 1].logprob
        assert token.logprob.top[:2] == scores.items[at - 1].top

    plain = msgspec.structs.replace(request, id=3, prompt_logprobs=False)
    assert child.run(plain)[3, 0] == answer


def test_prompt_logprobs_of_several_choices_come_once(child: EngineChild) -> None:
    choices = [(i, []) for i in range(3)]
    child.run(submit(1, prompt(40), 4, choices=choices, prompt_logprobs=True))
    assert sum(isinstance(e, PromptLogprobs) for e in child.events) == 1


def test_a_prompt_of_one_token(child: EngineChild) -> None:
    assert len(child.run(submit(1, [5], 4))[1, 0]) == 4
    child.run(submit(2, [5], 4, prompt_logprobs=True))
    assert [e.items for e in child.events if isinstance(e, PromptLogprobs)] == [[]]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (submit(1, [], 4), "invalid_request"),
        (submit(1, [320], 4), "invalid_request"),
        (submit(1, [-1], 4), "invalid_request"),
        (submit(1, [3], 4, choices=[(0, [999])]), "invalid_request"),
        (submit(1, prompt(2049), 4), "context_overflow"),
        (submit(1, [1 << 40], 4), "invalid_request"),
        (submit(1, [3], -1), "invalid_request"),
        (submit(1, [3], 4, logprobs=321), "invalid_request"),
        (submit(1, [3], 4, stages=[Stage("no_such_stage")]), "invalid_request"),
        (submit(1, [3], 4, stages=[Stage("top_k", {"nope": 1})]), "invalid_request"),
    ],
    ids=[
        "empty",
        "beyond the vocabulary",
        "negative",
        "forced",
        "long",
        "beyond 32 bits",
        "max_tokens",
        "logprobs",
        "stage",
        "parameter",
    ],
)
def test_what_cannot_be_served_fails_alone(child: EngineChild, request_: Submit, code: str) -> None:
    other = submit(50, prompt(30), 20)
    child.send(other, request_)
    failed = child.until(Failed)
    assert (failed.id, failed.code) == (1, code)
    assert failed.message
    assert len(child.answers(50)[50, 0]) <= 20
    assert child.run(with_id(other, 51)).keys() == {(51, 0)}


def test_logits_that_are_no_numbers_fail_their_request_alone(tmp_path: Path) -> None:
    """The embedding of token 9 is NaN, and with it everything computed from that token."""
    tensors = dict(random_tensors(Shape()))
    tensors["transformer.embedding.word_embeddings.weight"][9] = np.nan
    model = write_checkpoint(tmp_path / "m", Shape(), tokenizer=None, tensors=tensors)
    healthy = submit(1, [5, 6, 7], 30, stop_ids=[9], stages=NEVER_9)
    with engine_child(model, slots=2) as child:
        child.ready()
        expected = child.run(healthy)[1, 0]
        child.send(with_id(healthy, 2), submit(3, [5, 9, 7], 30), submit(4, [5, 9], 3, logprobs=1))
        answer = child.answers(2)[2, 0]
        assert [token.token for token in answer] == expected
        failures = {e.id: e for e in child.events if isinstance(e, Failed)}
        assert failures.keys() == {3, 4}
        assert {e.code for e in failures.values()} == {"engine_failed"}
        assert child.run(with_id(healthy, 5))[5, 0] == expected


def test_reports_follow_what_runs(fresh: EngineChild) -> None:
    fresh.send(submit(1, prompt(10), 2000))
    busy = fresh.until(Report, lambda report: report.slots_busy == 1)
    assert busy.devices == []
    fresh.send(Cancel(1))
    fresh.until(Report, lambda report: report.slots_busy == 0)


def test_that_all_is_quiet_is_told_with_the_last_token(fresh: EngineChild) -> None:
    """Requests that follow at once are no reason to wait."""
    for number in (1, 2, 3):
        fresh.run(submit(number, prompt(10, seed=number), 5))
    fresh.receive()  # what is behind the last token of the third
    ends = [i for i, e in enumerate(fresh.events) if isinstance(e, Step) and e.tokens[-1].finish]
    behind = [fresh.events[i + 1] for i in ends]
    assert behind == [Report(0, [], [4]), Report(0, [], [8]), Report(0, [], [12])]


def test_reports_count_the_answers_of_a_step(fresh: EngineChild) -> None:
    """The first token comes with the prompt; a second choice begins when that is computed, with the
    prompt's last token beside the first choice's next one."""
    fresh.send(submit(1, prompt(10), 5))
    fresh.until(Report, lambda report: report.decodes == [4])
    fresh.send(submit(2, prompt(10, seed=1), 5, choices=[(0, []), (1, [])]))
    fresh.until(Report, lambda report: report.decodes == [5, 4])
