"""The nets of the seed recipe in torch, run as the vendor's demos run them, against the reference
that is written in NumPy from the papers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import glm_reference
from support.checkpoints import Shape, write_checkpoint
from support.glm_models import Model
from support.seed_runs import Array, Run, SeedRun

from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.seed.nets import seed_nets

pytestmark = pytest.mark.needs("torch")

SEQ_LENGTH = 16
SHAPES = {
    "even": Shape(),
    "32k": Shape(rope_ratio=50.0),
    "odd": Shape(layers=3, hidden=60, heads=6, kv_heads=3, head_dim=20, ffn=97, vocab=131),
}


def torch_run(checkpoint: Checkpoint) -> Run:
    """Runs a net's torch module in float32."""
    import torch

    from glmd.compiler.seed.modules import build_module
    from glmd.compiler.seed.weights import checkpoint_weights

    weights = checkpoint_weights(checkpoint)
    modules = {
        net.name: build_module(net, checkpoint.config, SEQ_LENGTH, weights)
        for net in seed_nets(checkpoint.config, SEQ_LENGTH)
    }

    def tensor(array: Array) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.int64 if array.dtype == np.int32 else np.float32))

    def run(name: str, inputs: Sequence[Array]) -> list[Array]:
        with torch.no_grad():
            outputs: Any = modules[name](*map(tensor, inputs))
        return [out.numpy() for out in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return run


def reference_logits(shape: Shape, checkpoint: Checkpoint, ids: Sequence[int]) -> NDArray[Any]:
    model = Model(
        layers=shape.layers,
        hidden=shape.hidden,
        ffn=shape.ffn,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocab=shape.vocab,
        rope_base=10000.0 * shape.rope_ratio,
    )
    tensors = {name: checkpoint.read(name) for name in checkpoint.tensors}
    return glm_reference.logits(model, tensors, np.array(ids, np.int32))


@pytest.mark.parametrize("name", SHAPES)
def test_a_conversation_has_the_logits_of_the_reference(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]
    checkpoint = Checkpoint.open(write_checkpoint(tmp_path, shape))
    ids = [int(i) for i in np.random.default_rng(5).integers(0, shape.vocab, 12)]
    expected = reference_logits(shape, checkpoint, ids)
    run = SeedRun(torch_run(checkpoint), shape.layers, SEQ_LENGTH)
    found = [run.prefill(ids[:7]), *(run.decode(token) for token in ids[7:])]
    for row, logits in zip(expected[6:], found, strict=True):
        assert np.abs(logits[0] - row).max() < 1e-4 * np.abs(row).max()


def test_the_greedy_head_takes_the_likeliest(tmp_path: Path) -> None:
    run = torch_run(Checkpoint.open(write_checkpoint(tmp_path)))
    logits = np.random.default_rng(0).standard_normal((1, 320)).astype(np.float32)
    (token,) = run("greedy_head", [logits])
    assert token.tolist() == [[int(logits.argmax())]]


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("top_p", [0.05, 0.6, 0.95])
def test_the_penalty_head_draws_as_the_vendors(
    penalty: float, top_p: float, tmp_path: Path
) -> None:
    run = torch_run(Checkpoint.open(write_checkpoint(tmp_path)))
    rng = np.random.default_rng(9)
    logits = rng.normal(-1, 2, (1, 320)).astype(np.float32)
    recent = np.argsort(-logits[0])[:8].astype(np.int32)
    ids = np.concatenate([recent, np.full(SEQ_LENGTH - 8, recent[-1], np.int32)])[None]
    numbers = [np.array([value], np.float32) for value in (top_p, 0.7, penalty)]
    probs, tokens = run("penalty_sample_head", [logits, ids, *numbers])

    scores = logits[0].astype(np.float64)
    seen = scores[recent]
    scores[recent] = np.where(seen < 0, seen * penalty, seen / penalty)
    order = np.argsort(-scores, kind="stable")[:50]
    top = scores[order] / 0.7
    shares = np.cumsum(softmax(top))
    kept = (shares < top_p) | (np.arange(50) < 5)
    assert np.abs(shares - top_p).min() > 1e-6  # no share so close that rounding decides
    assert tokens[0].tolist() == order.tolist()
    np.testing.assert_allclose(probs[0], softmax(np.where(kept, top, -1000.0)), atol=1e-6)


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = np.exp(values - values.max())
    return np.asarray(shares / shares.sum())


def test_a_model_of_28_layers_has_the_61_nets_of_the_vendors() -> None:
    from glmd.checkpoint.config import ModelConfig

    config = ModelConfig(
        num_layers=28,
        hidden_size=4096,
        ffn_hidden_size=13696,
        num_attention_heads=32,
        multi_query_group_num=2,
        kv_channels=128,
        padded_vocab_size=65024,
        seq_length=8192,
        layernorm_epsilon=1e-5,
    )
    nets = seed_nets(config, 512)
    assert len(nets) == len({net.name for net in nets}) == 61
    ports = {net.name: [(p.dtype, p.shape) for p in (*net.inputs, *net.outputs)] for net in nets}
    assert ports["block_27"] == [
        ("f16", (512, 1, 4096)),
        ("i32", (1, 512)),
        ("f16", (1, 1, 512, 512)),
        ("f16", (512, 1, 4096)),
        ("f16", (512, 1, 2, 128)),
        ("f16", (512, 1, 2, 128)),
    ]
    assert ports["block_cache_0"][2] == ("f16", (1, 1, 1, 513))
    assert ports["lm_head"] == [("f16", (1, 4096)), ("f32", (1, 65024))]
