"""How weights are stored, from their sizes alone."""

from __future__ import annotations

import pytest

from glmd.bmodel.nets import Weight
from glmd.bmodel.quantisation import Matrix, Quantisation, guess

HIDDEN, NARROW = 256, 128

# What features.py looks for in a layer: the way back from attention, then query, key and value.
BACK, QUERY, KEY = Matrix(HIDDEN, HIDDEN), Matrix(HIDDEN, HIDDEN), Matrix(HIDDEN, NARROW)
LAYOUTS = [[BACK, Matrix(HIDDEN, HIDDEN + 2 * NARROW)], [BACK, QUERY, KEY, KEY]]
ATTENTION = [16384, 16384, 32768, 32768]  # bytes of key, value, query and back in int4


def layer(matrices: list[int]) -> list[Weight]:
    return [Weight("tpu.A16MatMul.weight", nbytes) for nbytes in matrices]


@pytest.mark.parametrize("mlp", [[65536] * 3, [131072, 65536]], ids=["apart", "two in one"])
def test_matrices_that_fit_another_width_by_chance(mlp: list[int]) -> None:
    """glm3-nano's layer in int4: with those of its MLP, twice as wide as the model, there are also
    all matrices that attention has in int8."""
    doubled = [*ATTENTION, *mlp]
    assert guess(layer(doubled), LAYOUTS) == Quantisation("int4")
    assert guess(layer([2 * nbytes for nbytes in doubled]), LAYOUTS) == Quantisation("int8")


def test_matrices_that_fit_no_width() -> None:
    assert guess(layer([4096, 8192]), LAYOUTS) is None
