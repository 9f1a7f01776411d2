"""What backends can do and take, written down as values."""

from __future__ import annotations

from dataclasses import dataclass, field

from glmd.bmodel.estimates import Estimates, Kind
from glmd.daemon.native._engine import Prefill, Want


@dataclass
class Can:
    """The fields of Capabilities."""

    prefill: Prefill = Prefill.any
    prefill_lengths: list[int] = field(default_factory=list)
    chunk_lengths: list[int] = field(default_factory=list)
    decode_batches: list[int] = field(default_factory=list)
    slots: int = 32
    outputs: list[Want] = field(default_factory=lambda: [Want.none, Want.token, Want.logits])
    devices: int = 0
    saved_bytes: int = 0


CPU = Can()

# A bmodel with one prefill net that starts at 0, and a decode net for one sequence.
SEED = Can(Prefill.from_zero, [512], [], [1])

# One with nets of all lengths, also behind others, and for several sequences at once.
SERVE = Can(Prefill.chunks, [64, 128, 256, 512], [16, 32, 64, 128], [1, 2, 4, 8])

# What TPU-MLIR says of ChatGLM3-6B's nets, INT4 in groups of 64, 512 positions: milliseconds of a
# layer, and of lm_head for one row.
_HEAD = 2.72


def _steps(kind: Kind, layer: dict[int, float]) -> dict[tuple[Kind, int], float]:
    return {(kind, n): (28 * one + _HEAD) / 1000 for n, one in layer.items()}


SEED_SECONDS: Estimates = _steps("prefill", {512: 33.1}) | _steps("decode", {1: 2.91})
SERVE_SECONDS: Estimates = (
    _steps("prefill", {64: 2.67, 128: 4.40, 256: 8.53, 512: 16.87})
    | _steps("chunk", {16: 2.45, 32: 2.49, 64: 2.74, 128: 4.52})
    | _steps("decode", {1: 2.12, 2: 2.19, 4: 2.29, 8: 2.48})
)
