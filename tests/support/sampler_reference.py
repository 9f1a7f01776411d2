"""The sampler written the plain way, to compare the C++ one with: float64, full sorts, no haste.

A stage takes logits, float64 [vocab] with -inf for tokens out of play, and returns new ones. The
meaning of each is that of its paper and of llama.cpp; nothing is taken from the C++ beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float64]
Stages = Sequence[tuple[str, dict[str, Any]]]

DRAW_STAGE = 0xFFFFFFFF


def philox4x32(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Philox4x32-10, as figure 2 and table 1 of Salmon et al. (SC '11) give it."""
    c, k = list(counter), list(key)
    for _ in range(10):
        left, right = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [
            (right >> 32) ^ c[1] ^ k[0],
            right & 0xFFFFFFFF,
            (left >> 32) ^ c[3] ^ k[1],
            left & 0xFFFFFFFF,
        ]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def uniform(seed: int, choice: int, index: int, stage: int) -> float:
    words = philox4x32([index, choice, stage, 0], [seed & 0xFFFFFFFF, seed >> 32])
    return float(((words[1] << 32 | words[0]) >> 11) / (1 << 53))


def softmax(logits: Logits) -> Logits:
    e = np.exp(logits - logits.max())
    return np.asarray(e / e.sum(), dtype=np.float64)


def order(key: Logits) -> NDArray[np.int64]:
    """Indices in play, the greatest key first, of equal keys the lower index."""
    ranked = np.argsort(-key, kind="stable")
    return ranked[np.isfinite(key[ranked])]


def keep(logits: Logits, ids: NDArray[np.int64]) -> Logits:
    kept = np.full_like(logits, -np.inf)
    kept[ids] = logits[ids]
    return kept


def window(history: Sequence[int], last_n: int) -> list[int]:
    return list(history) if last_n < 0 else list(history)[max(len(history) - last_n, 0) :]


def logit_bias(x: Logits, history: Sequence[int], u: float, bias: Any) -> Logits:
    x = x.copy()
    for token, amount in bias:
        x[token] += amount
    return x


def penalties(
    x: Logits,
    history: Sequence[int],
    u: float,
    repeat: float = 1.0,
    frequency: float = 0.0,
    presence: float = 0.0,
    last_n: int = 64,
) -> Logits:
    x = x.copy()
    for token, count in Counter(window(history, last_n)).items():
        x[token] = x[token] / repeat if x[token] > 0 else x[token] * repeat
        x[token] -= count * frequency + presence
    return x


def dry(
    x: Logits,
    history: Sequence[int],
    u: float,
    multiplier: float = 0.0,
    base: float = 1.75,
    allowed_length: int = 2,
    last_n: int = 64,
    breakers: Sequence[Sequence[int]] = (),
) -> Logits:
    """For each earlier place: how long a suffix of the text also stands before it, and which token
    came next there. No suffix reaches back over a breaker."""
    x = x.copy()
    text = window(history, last_n)
    limit = len(text)
    for length in range(len(text)):  # tokens behind the breaker, the last breaker first
        head = text[: len(text) - length]
        # What counts is where a breaker begins; of those that begin alike, the longest.
        starts = [
            b for b in breakers if head and text[len(head) - 1 : len(head) - 1 + len(b)] == list(b)
        ]
        if starts:
            limit = length + 1 - max(len(b) for b in starts)
            break
    longest: dict[int, int] = {}
    for end in range(1, len(text)):
        match = 0
        while match < min(end, limit) and text[end - 1 - match] == text[len(text) - 1 - match]:
            match += 1
        if match >= allowed_length:
            longest[text[end]] = max(longest.get(text[end], 0), match)
    if len(text) <= allowed_length or limit < allowed_length:
        return x
    for token, match in longest.items():
        if [token] not in [list(b) for b in breakers]:
            x[token] -= min(multiplier * base ** (match - allowed_length), 1e30)
    return x


def top_n_sigma(x: Logits, history: Sequence[int], u: float, n: float = 0.0) -> Logits:
    finite = x[np.isfinite(x)]
    return x if n == 0 else np.where(x >= finite.max() - n * finite.std(), x, -np.inf)


def top_k(x: Logits, history: Sequence[int], u: float, k: int = 50) -> Logits:
    return x if k == 0 else keep(x, order(x)[:k])


def typical(
    x: Logits, history: Sequence[int], u: float, p: float = 1.0, min_keep: int = 0
) -> Logits:
    if p >= 1.0:
        return x
    probs = softmax(x)
    surprise = np.where(probs > 0, -np.log(np.where(probs > 0, probs, 1.0)), np.inf)
    entropy = float(np.sum(probs[probs > 0] * surprise[probs > 0]))
    ranked = order(-np.abs(surprise - entropy))
    ends = np.nonzero(np.cumsum(probs[ranked]) > p)[0]
    count = int(ends[0]) + 1 if len(ends) else len(ranked)
    return keep(x, ranked[: max(count, min_keep)])


def top_p(
    x: Logits,
    history: Sequence[int],
    u: float,
    p: float = 0.8,
    min_keep: int = 0,
    inclusive: bool = True,
) -> Logits:
    if p >= 1.0 and inclusive:
        return x
    ranked = order(x)
    share = np.cumsum(softmax(x)[ranked])
    share[-1] = 1.0
    below = int(np.count_nonzero(share < p))
    count = below + 1 if inclusive else below
    return keep(x, ranked[: max(count, min_keep, 1)])


def min_p(x: Logits, history: Sequence[int], u: float, p: float = 0.0, min_keep: int = 0) -> Logits:
    if p == 0.0:
        return x
    probs = softmax(x)
    count = int(np.count_nonzero(probs >= p * probs.max()))
    return keep(x, order(x)[: max(count, min_keep)])


def xtc(
    x: Logits,
    history: Sequence[int],
    u: float,
    probability: float = 0.0,
    threshold: float = 0.1,
    min_keep: int = 0,
) -> Logits:
    if u >= probability or threshold > 0.5:
        return x
    ranked = order(x)
    excluded = max(int(np.count_nonzero(softmax(x)[ranked] >= threshold)) - 1, 0)
    return x if len(ranked) - excluded < min_keep else keep(x, ranked[excluded:])


def temperature(x: Logits, history: Sequence[int], u: float, temperature: float = 0.8) -> Logits:
    return keep(x, order(x)[:1]) if temperature == 0 else x / temperature


STAGES: dict[str, Callable[..., Logits]] = {
    "logit_bias": logit_bias,
    "penalties": penalties,
    "dry": dry,
    "top_n_sigma": top_n_sigma,
    "top_k": top_k,
    "typical": typical,
    "top_p": top_p,
    "min_p": min_p,
    "xtc": xtc,
    "temperature": temperature,
}


def apply(
    stages: Stages,
    logits: NDArray[np.float32],
    history: Sequence[int] = (),
    *,
    seed: int = 0,
    choice: int = 0,
    index: int = 0,
    first_stage: int = 0,
) -> Logits:
    """What a chain makes of a row."""
    x = logits.astype(np.float64)
    for i, (name, params) in enumerate(stages):
        x = STAGES[name](x, history, uniform(seed, choice, index, first_stage + i), **params)
    return x


def outcomes(stages: Stages, logits: NDArray[np.float32], history: Sequence[int] = ()) -> Logits:
    """The probability of each token, over all random numbers: float64 [vocab]."""
    mixed = [(1.0, logits.astype(np.float64))]
    for name, params in stages:
        chance = params["probability"] if name == "xtc" else 1.0
        mixed = [
            (weight * share, STAGES[name](x, history, u, **params))
            for weight, x in mixed
            for share, u in ((chance, -1.0), (1.0 - chance, 1.0))
            if share > 0
        ]
    return np.asarray(sum(weight * softmax(x) for weight, x in mixed), dtype=np.float64)
