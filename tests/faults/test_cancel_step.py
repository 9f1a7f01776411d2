"""A cancel frees the engine within one step (P4), counted in steps: the engine is held while it is
sent, so that what comes afterwards was made afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.checkpoints import Shape, write_checkpoint
from support.engine import EngineChild, engine_child, prompt, submit
from support.engine_processes import frozen, until

from glmd.daemon.engine.messages import Cancel, Prefilled, Step


@pytest.fixture
def child(tmp_path: Path) -> Iterator[EngineChild]:
    shape = Shape(layers=2, hidden=256, heads=8, head_dim=32, ffn=512, seq_length=4096)
    model = write_checkpoint(tmp_path / "model", shape, tokenizer=None)
    with engine_child(model, slots=3) as child:
        child.ready()
        yield child


def progress(child: EngineChild, id: int) -> int:
    """Steps in which the request moved on, as far as is known. The one that ends the prompt gives
    the first token too."""
    return sum(
        any(token.id == id for token in event.tokens)
        if isinstance(event, Step)
        else isinstance(event, Prefilled) and event.id == id and event.done < event.total
        for event in child.events
    )


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_at_most_one_step_follows_a_cancel(child: EngineChild, phase: str) -> None:
    for id in range(1, 6):
        if phase == "prefill":
            child.send(submit(id, prompt(4000, seed=id), 5))
            child.until(Prefilled, lambda event, id=id: event.id == id and event.done < event.total)
        else:
            child.send(submit(id, prompt(20, seed=id), 4000))
            child.until(Step, lambda step, id=id: any(token.id == id for token in step.tokens))
        with frozen(child.process.pid):
            until(psutil.Process(child.process.pid).status, lambda now: now == "stopped")
            child.hear()
            before = progress(child, id)
            child.send(Cancel(id), submit(100 + id, prompt(5), 2))
        child.answers(100 + id)
        assert progress(child, id) <= before + 1
        child.send(submit(200 + id, prompt(6), 2))
        child.answers(200 + id)
        assert progress(child, id) <= before + 1
