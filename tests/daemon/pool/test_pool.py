"""Requests through the pool: who runs where, who waits, what each is told."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from support.checkpoints import Shape, write_checkpoint
from support.engine import GREEDY, prompt
from support.pool import Answer, answers, ask, job, kill_engine, put, running_pool

from glmd.daemon.engine.memory import available_memory
from glmd.daemon.pool import Pool
from glmd.errors import Busy, Code, ContextOverflow, DaemonError, InvalidRequest, ModelError


async def test_a_request_is_answered(tiny_model: Path) -> None:
    async with running_pool(tiny_model) as pool:
        answer = ask(pool, job(prompt(40), 12))
        assert pool.running == 1
        tokens = await answer.end()
        assert len(tokens[0]) == 12
        assert answer.finish == {0: "length"}
        assert answer.prefills == [(40, 0)]
        assert pool.running == 0
        (status,) = pool.replicas()
        assert (status.state, status.requests_served, status.model_loads) == ("ready", 1, 1)
        assert (status.slots, status.slots_busy) == (16, 0)
        assert status.memory > 1 << 20
        assert {"replicas", "model", "queue"} <= set(pool.topics)


async def test_the_model_is_described(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=3, context=500) as pool:
        model = pool.model
        assert model is not None
        assert (model.slots, model.context, model.vocab, model.mode) == (3, 500, 320, "f16")
        assert pool.placement.endswith(".")


async def test_requests_taken_while_loading_are_served(tiny_model: Path) -> None:
    async with running_pool(tiny_model, wait=False) as pool:
        answer = ask(pool, job(prompt(10), 4))
        assert pool.model is None
        assert pool.queued == 1
        assert len((await answer.end())[0]) == 4


async def test_sixteen_at_once_answer_like_each_alone(tiny_model: Path) -> None:
    jobs = [job(prompt(7 * i, seed=i), 60, seed=i) for i in range(1, 17)]
    async with running_pool(tiny_model) as pool:
        together = await answers(pool, *jobs)
    async with running_pool(tiny_model, slots=1) as pool:
        assert together == [(await answers(pool, one))[0] for one in jobs]


async def test_choices_answer_like_single_requests(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=4) as pool:
        (four,) = await answers(pool, job(prompt(50), 30, n=4))
        (two,) = await answers(pool, job(prompt(50), 30, n=2))
        (one,) = await answers(pool, job(prompt(50), 30))
    assert four[0] == two[0] == one[0]
    assert four[1] == two[1]
    assert len({tuple(tokens) for tokens in four.values()}) == 4


async def test_the_next_turn_is_cached(tiny_model: Path) -> None:
    async with running_pool(tiny_model) as pool:
        first = ask(pool, job(prompt(80), 10))
        turn = prompt(80) + (await first.end())[0]
        second = ask(pool, job(turn + prompt(20, seed=1), 5))
        await second.end()
    assert second.prefills == [(110, 89)]


async def test_prompt_logprobs_come_once(tiny_model: Path) -> None:
    async with running_pool(tiny_model) as pool:
        answer = ask(pool, job(prompt(40), 0, prompt_logprobs=True, logprobs=3))
        assert await answer.end() == {0: [-1]}
        (scores,) = answer.scores
        assert len(scores) == 39
        assert all(len(item.top) == 3 for item in scores)


# -- admission -----------------------------------------------------------------------------------


async def test_a_full_queue_says_when_to_come_back(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=1, max_queue=3) as pool:
        waiting = [ask(pool, job(prompt(10), 50)) for _ in range(4)]
        assert (pool.running, pool.queued) == (1, 3)
        with pytest.raises(Busy) as caught:
            ask(pool, job(prompt(10)))
        assert caught.value.retry_after_ms is not None
        assert 0 < caught.value.retry_after_ms <= 60_000
        other = ask(pool, job(prompt(10), 50, principal="somebody else"))
        for answer in [*waiting, other]:
            await answer.end()
        await answers(pool, job(prompt(10)))


async def test_one_request_is_one_request(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=1, max_queue=1) as pool:
        waiting = [ask(pool, job(prompt(10), 50)) for _ in range(2)]
        with pytest.raises(Busy, match=r"^1 request is waiting, which is all the queue takes\."):
            ask(pool, job(prompt(10)))
        for answer in waiting:
            await answer.end()


async def test_principals_take_turns(tiny_model: Path) -> None:
    order: list[str] = []

    def submit(pool: Pool, principal: str) -> Answer:
        return ask(
            pool,
            job(prompt(10), 1, principal=principal),
            lambda token: order.append(principal),
        )

    async with running_pool(tiny_model, slots=1, wait=False) as pool:
        all_of_them = [submit(pool, "hog") for _ in range(6)]
        all_of_them += [submit(pool, "a"), submit(pool, "b"), submit(pool, "a")]
        for answer in all_of_them:
            await answer.end()
    assert order == ["hog", "a", "b", "hog", "a", "hog", "hog", "hog", "hog"]


async def test_a_request_for_many_answers_is_not_overtaken_for_ever(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=4) as pool:
        order: list[str] = []
        first = ask(pool, job(prompt(10), 100))
        wide = ask(pool, job(prompt(10), 1, n=4), lambda token: order.append("wide"))
        later = ask(pool, job(prompt(10), 1), lambda token: order.append("later"))
        assert pool.queued == 2
        for answer in (first, wide, later):
            await answer.end()
        assert order == ["wide"] * 4 + ["later"]


async def test_what_the_model_can_never_do_is_refused_at_once(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=2, context=100) as pool:
        with pytest.raises(InvalidRequest, match="at most 2"):
            ask(pool, job(prompt(5), n=3))
        with pytest.raises(ContextOverflow, match="the context holds 100"):
            ask(pool, job(prompt(101)))
        assert (await answers(pool, job(prompt(100), 5)))[0][0][0] >= 0


async def test_what_was_taken_before_the_model_was_known_may_fail_later(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=2, context=100, wait=False) as pool:
        wide, long = ask(pool, job(prompt(5), n=3)), ask(pool, job(prompt(101)))
        fine = ask(pool, job(prompt(5), 3))
        with pytest.raises(InvalidRequest):
            await wide.end()
        with pytest.raises(ContextOverflow):
            await long.end()
        assert len((await fine.end())[0]) == 3


async def test_the_engine_may_refuse_too(tiny_model: Path) -> None:
    async with running_pool(tiny_model) as pool:
        with pytest.raises(InvalidRequest):
            await answers(pool, job([9999]))
        assert pool.running == 0
        assert pool.replicas()[0].slots_busy == 0


# -- progress ------------------------------------------------------------------------------------


async def test_those_who_wait_hear_how_many_are_ahead(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=1) as pool:
        kill_engine(pool, sig=signal.SIGSTOP)
        asked = [ask(pool, job(prompt(10), 1)) for _ in range(4)]
        for ahead, answer in enumerate(asked[1:]):
            await answer.until(lambda a: bool(a.phases))
            assert answer.phases[0] == ("queued", ahead, 3)
        kill_engine(pool, sig=signal.SIGCONT)
        for answer in asked:
            await answer.end()


async def test_those_who_wait_for_the_model_hear_that_it_loads(tiny_model: Path) -> None:
    async with running_pool(tiny_model, wait=False) as pool:
        kill_engine(pool, sig=signal.SIGSTOP)
        answer = ask(pool, job(prompt(10), 1))
        await answer.until(lambda a: bool(a.phases))
        kill_engine(pool, sig=signal.SIGCONT)
        await answer.end()
    assert answer.phases[0][0] == "loading"


async def test_a_prefill_says_how_far_it_is(tiny_model: Path) -> None:
    async with running_pool(tiny_model) as pool:
        kill_engine(pool, sig=signal.SIGSTOP)
        answer = ask(pool, job(prompt(2000), 1))
        await answer.until(lambda a: len(a.phases) == 2)
        kill_engine(pool, sig=signal.SIGCONT)
        await answer.end()
    assert {(phase, total) for phase, _, total in answer.phases} == {("prefill", 2000)}


# -- cancel --------------------------------------------------------------------------------------


async def test_cancel_in_the_queue(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=1) as pool:
        running = ask(pool, job(prompt(10), 100))
        waiting, answer = put(pool, job(prompt(10), 5))
        last = ask(pool, job(prompt(10), 5))
        waiting.cancel()
        waiting.cancel()
        assert pool.queued == 1
        await running.end()
        await last.end()
        assert not answer.ended
        assert not answer.tokens


async def test_cancel_while_it_runs_frees_its_slots(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=2) as pool:
        ticket, answer = put(pool, job(prompt(10), 2000, n=2))
        await answer.until(lambda a: len(a.tokens) == 2)
        waiting = ask(pool, job(prompt(10), 5))
        ticket.cancel(1)
        assert pool.queued == 0
        await waiting.end()
        ticket.cancel()
        assert pool.running == 0
        heard = dict(answer.tokens)
        await answers(pool, job(prompt(10), 5, n=2))
        assert answer.tokens == heard
        assert not answer.ended


async def test_cancel_from_within_a_token(tiny_model: Path) -> None:
    """As a stop string does."""
    async with running_pool(tiny_model) as pool:
        ticket, answer = put(pool, job(prompt(10), 500), lambda token: cancel_at_5())

        def cancel_at_5() -> None:
            if len(answer.tokens[0]) == 5:
                ticket.cancel()

        await answer.until(lambda a: len(a.tokens.get(0, [])) == 5)
        await answers(pool, job(prompt(10), 50))
        assert len(answer.tokens[0]) == 5
        assert pool.running == 0


@pytest.mark.parametrize("when", ["queue", "prefill", "decode", "end"])
async def test_after_a_cancel_a_request_is_answered_as_ever(tiny_model: Path, when: str) -> None:
    question = job(prompt(1500), 20)
    async with running_pool(tiny_model, slots=2) as pool:
        expected = await answers(pool, question)
        for _ in range(3):
            others = [put(pool, job(prompt(1800, seed=i), 30, seed=i)) for i in range(3)]
            ticket, answer = others[2 if when == "queue" else 0]
            if when == "prefill":
                await asyncio.sleep(0)
            elif when == "decode":
                await answer.until(lambda a: bool(a.tokens))
            elif when == "end":
                await answer.end()
            ticket.cancel()
            assert await answers(pool, question) == expected
            for other, _ in others:
                other.cancel()


# -- a listener that fails -----------------------------------------------------------------------


async def test_a_listener_that_fails_ends_its_own_request_alone(tiny_model: Path) -> None:
    def fail(token: object) -> None:
        raise RuntimeError("a fault in a listener")

    async with running_pool(tiny_model) as pool:
        (expected,) = await answers(pool, job(prompt(10), 40))
        good = [ask(pool, job(prompt(10), 40)) for _ in range(3)]
        bad = ask(pool, job(prompt(10), 40), fail)
        assert [await answer.end() for answer in good] == [expected] * 3
        with pytest.raises(DaemonError) as caught:
            await bad.end()
        assert caught.value.code is Code.INTERNAL
        assert len(bad.tokens[0]) == 1
        assert pool.running == 0


# -- several replicas ----------------------------------------------------------------------------


async def test_two_replicas_share_the_work_and_agree(tiny_model: Path) -> None:
    jobs = [job(prompt(9 * i, seed=i), 30, seed=i) for i in range(1, 13)]
    async with running_pool(tiny_model) as pool:
        one = await answers(pool, *jobs)
    async with running_pool(tiny_model, slots=4, replicas=2) as pool:
        two = await answers(pool, *jobs)
        served = [status.requests_served for status in pool.replicas()]
        assert len({status.pid for status in pool.replicas()}) == 2
    assert one == two
    assert sum(served) == 12
    assert min(served) >= 4


async def test_a_conversation_stays_where_its_cache_is(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=4, replicas=2) as pool:
        for session in ("a", "b"):
            await answers(pool, job(prompt(100, seed=ord(session)), 4, affinity=session))
        ask(pool, job(prompt(10), 1))  # makes the other replica the freer one for a moment
        for session in ("a", "b"):
            again = ask(pool, job(prompt(100, seed=ord(session)), 4, affinity=session))
            await again.end()
            assert again.prefills == [(100, 99)]


async def test_a_busy_replica_is_not_waited_for(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=1, replicas=2) as pool:
        running, _ = put(pool, job(prompt(10), 2000, affinity="s"))
        other = ask(pool, job(prompt(10), 5, affinity="s"))
        assert (pool.running, pool.queued) == (2, 0)
        await other.end()
        running.cancel()


# -- stopping ------------------------------------------------------------------------------------


async def test_stopping_lets_accepted_requests_end(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=1) as pool:
        accepted = [ask(pool, job(prompt(10), 30)) for _ in range(3)]
        stopping = asyncio.create_task(pool.stop(30))
        await asyncio.sleep(0)
        with pytest.raises(DaemonError) as caught:
            ask(pool, job(prompt(10)))
        assert caught.value.code is Code.STOPPING
        await stopping
        assert [len(answer.tokens[0]) for answer in accepted] == [30, 30, 30]
        assert [status.state for status in pool.replicas()] == ["stopped"]


async def test_stopping_at_once_tells_everybody(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=1) as pool:
        accepted = [ask(pool, job(prompt(10), 2000)) for _ in range(3)]
        pid = pool.replicas()[0].pid
        await pool.stop(0)
        for answer in accepted:
            with pytest.raises(DaemonError) as caught:
                await answer.end()
            assert caught.value.code is Code.STOPPING
        assert pid is not None
        assert not psutil.pid_exists(pid)


async def test_a_second_stop_cuts_the_first_short(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=1) as pool:
        answer = ask(pool, job(prompt(10), 2000))
        patient = asyncio.create_task(pool.stop(3600))
        await asyncio.sleep(0)
        await pool.stop(0)
        await patient
        assert answer.ended


async def test_stopping_while_loading(tiny_model: Path) -> None:
    async with running_pool(tiny_model, wait=False) as pool:
        waiting = asyncio.create_task(pool.ready())
        await asyncio.sleep(0)
        await pool.stop(0)
        with pytest.raises(DaemonError):
            await waiting
        (status,) = pool.replicas()
        assert (status.state, status.pid) == ("stopped", None)


# -- a model that cannot be loaded ---------------------------------------------------------------


async def test_a_model_that_cannot_be_loaded_fails_the_pool(tmp_path: Path) -> None:
    async with running_pool(tmp_path / "missing", wait=False) as pool:
        early = ask(pool, job(prompt(5)))
        with pytest.raises(ModelError, match="missing") as caught:
            await pool.ready()
        with pytest.raises(ModelError):
            await early.end()
        with pytest.raises(ModelError):
            ask(pool, job(prompt(5)))
        (status,) = pool.replicas()
        assert (status.state, status.model_loads) == ("failed", 0)
        assert status.error == str(caught.value)


async def test_greedy_needs_no_logits(tiny_model: Path) -> None:
    async with running_pool(tiny_model) as pool:
        (plain,) = await answers(pool, job(prompt(20), 20, stages=GREEDY))
        (scored,) = await answers(pool, job(prompt(20), 20, stages=GREEDY, logprobs=0))
    assert plain == scored


async def test_replicas_that_load_together_share_the_memory(tmp_path: Path) -> None:
    """Some twenty slots of this model would fill the machine, if they were used."""
    shape = Shape(layers=64, head_dim=128)
    shape = replace(shape, seq_length=available_memory() // (24 * 64 * 2 * 2 * 128 * 2))
    model = write_checkpoint(tmp_path / "m", shape, tokenizer=None)
    slots = []
    for replicas in (1, 2):
        async with running_pool(model, slots=0, replicas=replicas) as pool:
            slots.append(sum(status.slots for status in pool.replicas()))
            if replicas == 2:
                kill_engine(pool)
                await pool.until(lambda replica: replica.model_loads == 2)
    alone, together = slots
    assert 1 <= together < 1.5 * alone
