"""What a run of each kind of net costs: expected at first, measured as soon as there is enough.

What is known of some nets is also told of the others: when those that were measured took twice what
was expected of them, the rest is expected to. So a wrong seed is wrong for no longer than a few
steps, and a length that was never run keeps its place among those that were.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import median

from glmd.bmodel.estimates import Estimates, Kind
from glmd.daemon.engine.cover import Costs

Seconds = dict[tuple[Kind, int], float]

# A run is judged by the median of the last ones, so that none that was held up by something else
# counts for much; and not before there are a few.
SAMPLES = 9
ENOUGH = 3

# A median that moved by less is the same: plans do not change with the noise of a clock.
MOVED = 0.05

# What is expected where nothing is known. On BM1684X every net waits for its weights, which takes
# as long as a decode step; from 64 rows on it computes for longer than that.
DEFAULT_STEP = 0.1
ROWS_A_STEP = 64


class StepModel:
    """Seconds of a step, by the nets that compute it. `lengths`: ascending, of each kind."""

    def __init__(self, lengths: Mapping[Kind, list[int]], estimates: Estimates) -> None:
        self._lengths = lengths
        nets: Seconds = {
            (kind, n): _default(kind, n) for kind, sizes in lengths.items() for n in sizes
        }
        # A length that a prompt's beginning has no net of its own for is computed as a chunk.
        chunks: Seconds = {
            ("prefill", n): s for (kind, n), s in estimates.items() if kind == "chunk"
        }
        self._expected = _completed(nets, chunks | dict(estimates))
        self._samples: dict[tuple[Kind, int], deque[float]] = {
            net: deque(maxlen=SAMPLES) for net in nets
        }
        self._learned: Seconds = {}
        self._costs = self._combined()

    def costs(self, kind: Kind) -> Costs:
        """(length, seconds) of each net of a kind; never less for a longer one."""
        return self._costs[kind]

    def measured(self, kind: Kind, n: int, seconds: float) -> None:
        """`n` tokens, or sequences that decode, took so long."""
        length = next((length for length in self._lengths[kind] if length >= n), None)
        if length is None:
            return
        net = (kind, length)
        self._samples[net].append(seconds)
        if len(self._samples[net]) < ENOUGH:
            return
        value, known = median(self._samples[net]), self._learned.get(net)
        if known is None or abs(value - known) > MOVED * known:
            self._learned[net] = value
            self._costs = self._combined()

    def _combined(self) -> dict[Kind, Costs]:
        seconds = _completed(self._expected, self._learned)
        return {kind: _ascending(kind, sizes, seconds) for kind, sizes in self._lengths.items()}


def _default(kind: Kind, n: int) -> float:
    rows = n / ROWS_A_STEP
    if kind == "decode":
        return DEFAULT_STEP * (1 + rows)
    return DEFAULT_STEP * max(1.1 + 0.1 * rows, rows)


def _completed(expected: Seconds, known: Estimates) -> Seconds:
    """What is known, and for the rest what was expected, off by as much as what is known was."""
    off = [known[net] / expected[net] for net in known.keys() & expected.keys()]
    scale = median(off) if off else 1.0
    return {net: known.get(net, scale * seconds) for net, seconds in expected.items()}


def _ascending(kind: Kind, lengths: list[int], seconds: Seconds) -> Costs:
    """A longer net does what a shorter one does, so the shorter one is not worth more."""
    costs: list[tuple[int, float]] = []
    least = float("inf")
    for n in reversed(lengths):
        least = min(least, seconds[kind, n])
        costs.insert(0, (n, least))
    return tuple(costs)
