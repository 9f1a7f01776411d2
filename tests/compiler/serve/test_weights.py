"""How the serve recipe lays weights out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import Shape, write_checkpoint

from glmd.checkpoint.folder import Checkpoint
from glmd.checkpoint.stored import to_float32
from glmd.compiler.serve.export import net_text
from glmd.compiler.serve.nets import serve_nets
from glmd.compiler.serve.weights import half_order, net_weights, rotary


def test_members_of_pairs_stand_apart() -> None:
    assert half_order(8).tolist() == [0, 2, 1, 3, 4, 5, 6, 7]
    assert half_order(16).tolist() == [0, 2, 4, 6, 1, 3, 5, 7, *range(8, 16)]


@pytest.mark.parametrize("ratio", [1.0, 50.0])
def test_the_angles_follow_the_checkpoints_base(ratio: float, tmp_path: Path) -> None:
    shape = Shape(rope_ratio=ratio)
    config = Checkpoint.open(write_checkpoint(tmp_path / "checkpoint", shape)).config
    angles = rotary(config, 300)
    pairs = shape.head_dim // 4
    assert angles.shape == (300, 2 * pairs)
    last = 299 * (10000.0 * ratio) ** -((pairs - 1) / pairs)
    assert angles[299, pairs - 1] == pytest.approx(np.cos(last), abs=1e-6)
    assert angles[299, 2 * pairs - 1] == pytest.approx(np.sin(last), abs=1e-6)


def test_every_net_of_a_family_names_the_same_weights_in_one_order(tmp_path: Path) -> None:
    """They are laid out as they are named: only nets that agree in that share them."""
    checkpoint = Checkpoint.open(write_checkpoint(tmp_path / "checkpoint", Shape()))
    named: dict[str, list[str]] = {}
    for net in serve_nets(checkpoint.config, 128):
        found = net_weights(
            net, checkpoint.config, 128, lambda name: to_float32(checkpoint.read(name))
        )
        lines = net_text(net, checkpoint.config, 128, "weights.npz").splitlines()
        weights = [line.split(" -> ", 1)[1] for line in lines if '"top.Weight"' in line]
        assert named.setdefault(net.family, weights) == weights, net.key
        described = {
            f'tensor<{"x".join(map(str, array.shape))}xf32> loc("{name}")'
            for name, array in found.items()
        }
        assert set(weights) == described
        assert all(array.dtype == np.float32 for array in found.values())
