"""ChatGLM3-6B's own config, at four layers: it loads in INT4, answers, and takes no more memory
than its weights and its KV cache."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.checkpoints import SIX_B, write_large_checkpoint
from support.engine import GREEDY, EngineChild, engine_child, submit
from support.requirements import real_tokenizer
from support.tokenizers import real

from glmd.checkpoint.config import parse_config
from glmd.checkpoint.folder import Checkpoint
from glmd.daemon.engine.messages import Ready
from glmd.daemon.engine.packing import write_packed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs("room_for_6b"),
    pytest.mark.needs("real_tokenizer"),
    pytest.mark.timeout(300),
]

SHAPE = replace(SIX_B, layers=4)
PROMPT = [64790, 64792, 64795, 30910, 13, 36474, 54591, 64796]  # 你好
ANSWER = 12

# The interpreter with numpy and the engine; what a step of this size computes with.
INTERPRETER = 40 << 20
ACTIVATIONS = 32 << 20


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """2.7 GB of random F16 weights with ChatGLM3-6B's tokenizer."""
    folder = tmp_path_factory.mktemp("six_b")
    write_large_checkpoint(folder / "model", SHAPE, tokenizer=real_tokenizer())
    config = json.loads((real_tokenizer() / "config.json").read_text())
    (folder / "model" / "config.json").write_text(json.dumps({**config, "num_layers": 4}))
    yield folder / "model"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def packed_file(checkpoint: Path) -> Path:
    path = checkpoint.parent / "model_int4.glmd"
    write_packed(Checkpoint.open(checkpoint), "int4", path, lambda done, total: None)
    return path


def anonymous(child: EngineChild) -> int:
    """Bytes of memory that belong to the child alone and to no file."""
    rollup = Path(f"/proc/{child.process.pid}/smaps_rollup").read_text()
    line = next(line for line in rollup.splitlines() if line.startswith("Anonymous:"))
    return int(line.split()[1]) << 10


@dataclass(frozen=True)
class Measured:
    """Anonymous bytes when the model was loaded, and when it had answered."""

    ready: Ready
    loaded: int
    used: int
    answer: list[int]


def measure(model: Path, mode: str) -> Measured:
    assert real().encode("你好") == PROMPT[5:7]
    with engine_child(model, mode=mode, threads=0) as child:
        ready = child.ready()
        loaded = anonymous(child)
        (answer,) = child.run(submit(1, PROMPT, ANSWER, stages=GREEDY)).values()
        used = anonymous(child)
    assert (ready.mode, ready.vocab) == ("int4", 65024)
    return Measured(ready, loaded, used, answer)


@pytest.fixture(scope="module")
def from_checkpoint(checkpoint: Path) -> Measured:
    return measure(checkpoint, "int4")


def kv_bytes() -> int:
    """Of the tokens that were computed: memory is taken page by page."""
    config = parse_config(SHAPE.config(), Path("config.json"))
    pages = 2 * SHAPE.layers * SHAPE.kv_heads * 2 * 4096
    return (len(PROMPT) + ANSWER) * config.kv_bytes_per_token + pages


def test_a_checkpoint_takes_its_packed_weights(from_checkpoint: Measured) -> None:
    # The embedding is F16 already and stays in the file.
    weights = from_checkpoint.ready.model_bytes - 2 * SHAPE.vocab * SHAPE.hidden
    assert 0.9 * weights < from_checkpoint.loaded <= 1.15 * weights
    assert from_checkpoint.used <= 1.15 * weights + kv_bytes() + ACTIVATIONS


def test_a_packed_file_takes_nearly_nothing(packed_file: Path, from_checkpoint: Measured) -> None:
    mapped = measure(packed_file, "")
    assert mapped.loaded <= INTERPRETER < 0.15 * mapped.ready.model_bytes
    assert mapped.used <= INTERPRETER + kv_bytes() + ACTIVATIONS
    assert mapped.answer == from_checkpoint.answer


def test_it_answers(from_checkpoint: Measured) -> None:
    assert len(from_checkpoint.answer) == ANSWER
    assert len(set(from_checkpoint.answer)) > 1
    assert all(0 <= id < SHAPE.vocab for id in from_checkpoint.answer)
