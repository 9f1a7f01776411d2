"""What every plan keeps, whatever the backend can do."""

from __future__ import annotations

import pytest
from support.abilities import CPU, SEED, SEED_SECONDS, SERVE, SERVE_SECONDS
from support.sequences import carry_out, decoding, fed, sequence

from glmd.daemon.engine.scheduler import scheduler
from glmd.daemon.engine.work import Scheduler

FORMS = {
    "any": lambda: scheduler(CPU, {}),
    "seed": lambda: scheduler(SEED, SEED_SECONDS),
    "serve": lambda: scheduler(SERVE, SERVE_SECONDS),
    "seed, nothing known": lambda: scheduler(SEED, {}),
    "serve, nothing known": lambda: scheduler(SERVE, {}),
}


@pytest.fixture(params=FORMS.values(), ids=list(FORMS))
def form(request: pytest.FixtureRequest) -> Scheduler:
    return request.param()


def test_every_sequence_that_decodes_does_so_in_every_step(form: Scheduler) -> None:
    for k in (1, 3, 9, 20):
        rows = [decoding() for _ in range(k)]
        calls = form.plan([*rows, sequence(300), sequence(40)])
        assert [fed(calls, s) for s in rows] == [1] * k


@pytest.mark.parametrize("length", [2, 3, 17, 64, 65, 150, 300, 512, 513, 1000])
@pytest.mark.parametrize("streams", [0, 3])
def test_a_prompt_is_computed_completely_and_once(
    form: Scheduler, length: int, streams: int
) -> None:
    s, rows = sequence(length), [decoding() for _ in range(streams)]
    for step in range(length):
        calls = form.plan([s, *rows])
        assert 0 < fed(calls, s) <= s.prompt_left
        carry_out([[w for w in call if w.sequence is s] for call in calls], step)
        if not s.prefilling:
            break
    assert s.computed in {length - 1, length}


def test_nothing_runs_means_nothing_is_planned(form: Scheduler) -> None:
    assert form.plan([]) == []


def test_a_prompt_that_waits_alone_gets_on(form: Scheduler) -> None:
    for length in (2, 40, 600):
        s = sequence(length)
        assert fed(form.plan([s]), s) > 0


def test_forced_tokens_go_through_decode_one_by_one(form: Scheduler) -> None:
    replayed = sequence(10, 10, forced=5)
    for _ in range(5):
        calls = form.plan([replayed])
        assert fed(calls, replayed) == 1
        carry_out(calls)
    assert replayed.computed == replayed.length


def test_the_last_prompt_token_is_always_computed(form: Scheduler) -> None:
    assert form.reusable([], 20, 20) == 19
    assert form.reusable([], 20, 500) == 19
    assert form.reusable([], 1, 1) == 0
