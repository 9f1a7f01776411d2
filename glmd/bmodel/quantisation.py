"""How the weights of a net were stored, as far as their sizes tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from glmd.bmodel.nets import Weight
from glmd.packed import Mode

Bits = Literal[16, 8, 4]

_MODES: dict[Bits, Mode] = {16: "f16", 8: "int8", 4: "int4"}

# A MatMul of 16-bit activations with integer weights, as TPU-MLIR calls it.
_QUANTISED = "A16MatMul"
_MATRICES = ("MatMul.weight", "MatMul.input")

# TPU-MLIR keeps one F16 scale for so many weights; each constant takes whole pages.
_GROUPS = (32, 64, 128, 256)
_PAGE = 4096


class Matrix(NamedTuple):
    """One that a net is known to hold."""

    inputs: int
    outputs: int

    @property
    def elements(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True)
class Quantisation:
    """`group`: weights to a scale, None where the sizes leave it open or there are no scales."""

    mode: Mode
    group: int | None = None

    def __str__(self) -> str:
        return f"{self.mode}, groups of {self.group}" if self.group else self.mode


def guess(weights: Iterable[Weight], layouts: Sequence[Sequence[Matrix]]) -> Quantisation | None:
    """By the width at which all matrices of one of `layouts` are among the weights. Small models
    may fit by chance: one counts first that leaves matrices as those of an MLP are, then one that
    accounts for the most bytes. None where none fits."""
    weights = list(weights)
    quantised = any(_QUANTISED in weight.operation for weight in weights)
    stored = Counter(w.nbytes for w in weights if w.operation.endswith(_MATRICES))
    widths: tuple[Bits, ...] = (8, 4) if quantised else (16,)
    sizes = {
        (bits, number): Counter(_pages(matrix.elements * bits // 8) for matrix in layout)
        for bits in widths
        for number, layout in enumerate(layouts)
    }
    fitting = {
        key: (_like_an_mlp(stored - found), _nbytes(found))
        for key, found in sizes.items()
        if found <= stored
    }
    if not fitting:
        return None
    bits, number = max(fitting, key=fitting.__getitem__)
    return Quantisation(_MODES[bits], _group(weights, layouts[number]) if quantised else None)


def _like_an_mlp(sizes: Counter[int]) -> bool:
    """Three matrices of one size, the first two perhaps stored as one; or none at all."""
    return not sizes or (sum(sizes.values()) <= 3 and max(sizes) <= 2 * min(sizes))


def _group(weights: Iterable[Weight], layout: Sequence[Matrix]) -> int | None:
    """The one size of a group that makes scales as large as the largest matrix's must be."""
    scales = {w.nbytes for w in weights if w.operation.endswith(f"{_QUANTISED}.scale")}
    largest = max(matrix.elements for matrix in layout)
    likely = [group for group in _GROUPS if _pages(2 * largest // group) in scales]
    return likely[0] if len(likely) == 1 else None


def _nbytes(sizes: Counter[int]) -> int:
    return sum(nbytes * count for nbytes, count in sizes.items())


def _pages(nbytes: int) -> int:
    return -(-nbytes // _PAGE) * _PAGE
