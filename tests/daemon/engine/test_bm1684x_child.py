"""The engine child with a bmodel on the simulator: requests together, in turns and one by one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.bmodel_damage import damaged_tables, for_another_chip, truncated, zeroed
from support.bmodels import TINY, Form, build_bmodel
from support.engine import GREEDY, EngineChild, engine_child, prompt, submit
from support.simulated import simulator_folder

from glmd.daemon.engine.messages import Broken, Failed
from glmd.wire.sampling import Stage

pytestmark = [pytest.mark.needs("tpu_mlir", "export"), pytest.mark.timeout(1800)]

PENALTY_SAMPLE = [
    Stage("penalties", {"repeat": 1.3, "last_n": 8}),
    Stage("top_k", {"k": 50}),
    Stage("top_p", {"p": 0.9, "min_keep": 5, "inclusive": False}),
]


def child_on(model: Path, **load: object) -> EngineChild:
    settings = {
        "backend": "bm1684x",
        "mode": "",
        "devices": [0],
        "simulate": True,
        "libsophon": str(simulator_folder()),
    }
    return engine_child(model, **(settings | load))


@pytest.fixture(scope="module")
def child() -> Iterator[EngineChild]:
    with child_on(build_bmodel(TINY, Form(rows=True)), slots=3) as child:
        child.ready()
        yield child


def test_it_says_what_it_has_loaded() -> None:
    with child_on(build_bmodel(TINY, Form()), context=20) as child:
        ready = child.ready()
    assert (ready.slots, ready.context, ready.vocab) == (8, 20, TINY.vocab)
    assert (ready.mode, ready.backend, ready.devices) == ("f16", "bm1684x", [0])
    assert ready.outputs == ["token", "candidates", "logits"]
    assert ready.model_bytes > 0


@pytest.mark.parametrize(
    "stages",
    [GREEDY, PENALTY_SAMPLE, [Stage("temperature", {"temperature": 0.9})]],
    ids=["token", "candidates", "logits"],
)
def test_conversations_in_turns_answer_like_each_alone(
    child: EngineChild, stages: list[Stage]
) -> None:
    """Whatever the device gives: a token, candidates, logits."""

    def requests(first: int) -> list:
        return [
            submit(first + i, prompt(15 + i, seed=i), 10, stages=stages, seed=i) for i in range(3)
        ]

    first = {"top_k": 100, "penalties": 200, "temperature": 300}[stages[0].name]
    together = child.run(*requests(first))
    alone = [child.run(request) for request in requests(first + 10)]
    assert list(together.values()) == [answer for one in alone for answer in one.values()]
    assert len({tuple(answer) for answer in together.values()}) == 3


def test_the_next_turn_finds_the_last_one_in_the_cache(child: EngineChild) -> None:
    tokens = prompt(8, seed=5)
    answer = child.run(submit(501, tokens, 4, stages=GREEDY))[501, 0]
    following = [*tokens, *answer]
    again = child.run(submit(502, following, 4, stages=GREEDY))[502, 0]
    # The last token of an answer is never computed. A step for it is cheaper than all positions.
    assert child.cached(502) == len(tokens) + len(answer) - 1
    with child_on(build_bmodel(TINY, Form(rows=True)), slots=1) as fresh:
        fresh.ready()
        assert fresh.run(submit(1, following, 4, stages=GREEDY))[1, 0] == again


def test_log_probabilities_of_a_prompt(child: EngineChild) -> None:
    tokens = prompt(5, seed=8)
    child.run(submit(601, tokens, 2, stages=GREEDY, prompt_logprobs=True, logprobs=2))


def test_a_token_head_answers_greedy_requests_alone() -> None:
    model = build_bmodel(TINY, Form(head="token"))
    with child_on(build_bmodel(TINY, Form())) as child:
        child.ready()
        expected = child.run(submit(1, prompt(6), 8, stages=GREEDY))
    with child_on(model) as child:
        ready = child.ready()
        assert (ready.outputs, ready.vocab) == (["token"], TINY.vocab)
        assert child.run(submit(1, prompt(6), 8, stages=GREEDY)) == expected
        child.send(submit(2, prompt(6), 8))
        assert "gives no logits" in child.until(Failed).message
        assert child.run(submit(3, prompt(6), 8, stages=GREEDY))[3, 0] == expected[1, 0]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (truncated, "was cut short"),
        (zeroed, "is not a bmodel"),
        (for_another_chip, "BM1690E"),
        (damaged_tables, "damaged"),
        (Path.unlink, "not there|No such file"),
    ],
)
def test_files_that_cannot_be_served(
    tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    model = tmp_path / "model.bmodel"
    shutil.copy(build_bmodel(TINY, Form()), model)
    damage(model)
    with child_on(model) as child:
        broken = child.until(Broken)
        assert child.ended_within(10)
    assert broken.code == "model_error"
    assert str(model) in broken.message


def test_a_simulator_that_is_not_there(tmp_path: Path) -> None:
    with child_on(build_bmodel(TINY, Form()), libsophon=str(tmp_path)) as child:
        broken = child.until(Broken)
    assert "there is no simulator at" in broken.message
    assert "--libsophon" in broken.hint


def test_the_simulator_is_device_0() -> None:
    with child_on(build_bmodel(TINY, Form()), devices=[1]) as child:
        assert "the simulator is one chip, device 0" in child.until(Broken).message
