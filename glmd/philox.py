"""Random numbers that are a function of what they are for: Philox4x32-10.

(Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC '11.) The C++ sampler
has the same generator; plugins get theirs here, under keys that no built-in stage uses.
"""

from __future__ import annotations

_WORD = 0xFFFFFFFF


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, ...]:
    """Four random words of 32 bits for a counter and a key of such words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        left, right = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (right >> 32) ^ c1 ^ k0,
            right & _WORD,
            (left >> 32) ^ c3 ^ k1,
            left & _WORD,
        )
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return c0, c1, c2, c3


def uniform(seed: int, choice: int, index: int, stage: int, lane: int = 0) -> float:
    """Uniform in [0, 1) with 53 random bits: the key is the seed, the counter (index, choice,
    stage, lane). `seed` has 64 bits, the others 32; the built-in stages use lane 0."""
    words = philox4x32((index, choice, stage, lane), (seed & _WORD, seed >> 32))
    return float(((words[1] << 32 | words[0]) >> 11) / (1 << 53))


DRAW_STAGE = _WORD
"""The stage number of the draw that ends every chain."""
