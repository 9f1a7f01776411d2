"""The χ² test that ships, against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from glmd.testing import p_value
from glmd.testing.statistics import upper_gamma


@pytest.mark.parametrize("a", [0.5, 1.0, 2.5, 11.5, 400.0])
def test_the_gamma_function_is_scipys(a: float) -> None:
    for x in [0.0, 1e-6, 0.3 * a, 0.99 * a, a + 0.99, a + 1, 1.3 * a + 2, 3 * a + 5]:
        assert upper_gamma(a, x) == pytest.approx(special.gammaincc(a, x), rel=1e-9, abs=1e-300)


def test_the_p_value_is_scipys() -> None:
    rng = np.random.default_rng(0)
    probs = np.array([0.4, 0.3, 0.2, 0.1])
    for _ in range(50):
        counts = rng.multinomial(500, probs)
        assert p_value(counts, probs) == pytest.approx(stats.chisquare(counts, 500 * probs).pvalue)


def test_rare_outcomes_share_a_bin_and_impossible_ones_refute() -> None:
    probs = np.array([0.5, 0.498, 0.001, 0.001, 0.0])
    counts = np.array([500, 496, 3, 1, 0])
    assert p_value(counts, probs) == pytest.approx(
        stats.chisquare([500, 496, 4], [500, 498, 2]).pvalue
    )
    assert p_value(np.array([999, 0, 0, 0, 1]), probs) == 0.0
    assert p_value(np.array([9, 0]), np.array([1.0, 0.0])) == 1.0


def test_what_does_not_fit_is_implausible() -> None:
    assert p_value(np.array([600, 400]), np.array([0.5, 0.5])) < 1e-8
