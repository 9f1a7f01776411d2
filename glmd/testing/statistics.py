"""Pearson's χ² test, for draws against an exact distribution; no scipy needed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def p_value(counts: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
    """How likely counts at least as far from `probs` are, both [n], if `probs` is what they were
    drawn from. Outcomes expected fewer than five times share a bin; 0 where something was drawn
    that has no probability."""
    if counts[probs == 0].any():
        return 0.0
    expected = probs / probs.sum() * counts.sum()
    rare = expected < 5
    observed = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    used = expected > 0
    if used.sum() < 2:
        return 1.0
    chi2 = float((((observed - expected) ** 2)[used] / expected[used]).sum())
    return upper_gamma((int(used.sum()) - 1) / 2, chi2 / 2)


def upper_gamma(a: float, x: float) -> float:
    """The regularised incomplete gamma function Q(a, x), a > 0, x >= 0: DLMF 8.11.4 below a + 1,
    the continued fraction 8.9.2 above."""
    if x <= 0:
        return 1.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        n = a
        while term > total * 1e-16:
            n += 1
            term *= x / n
            total += term
        return 1 - total * scale
    b = x + 1 - a  # Lentz's way to sum a continued fraction
    d = 1 / b
    c, fraction = math.inf, d
    for i in range(1, 10_000):
        step = -i * (i - a)
        b += 2
        d = 1 / (step * d + b)
        c = b + step / c
        fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return fraction * scale
