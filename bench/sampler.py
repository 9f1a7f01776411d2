"""What the native sampler costs at ChatGLM3's vocabulary: microseconds a stage, a chain, a draw.

Each number is the fastest tenth of many calls, so that other programs on the machine hardly show.
Every chain includes what any chain costs: one pass over the row to refuse NaN. The row is peaked as
a trained model's; "flat" is the worst case of a model that knows nothing. Results go to
bench/results/sampler.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmd.daemon.native._engine import SamplerChain, draw, top_logprobs

VOCAB = 65024
RESULTS = Path(__file__).parent / "results" / "sampler.json"

Stages = list[tuple[str, dict[str, Any]]]
DEFAULT: Stages = [("top_k", {}), ("top_p", {}), ("temperature", {})]
CHAINS: dict[str, Stages] = {
    "no stage": [],
    "logit_bias (1 token)": [("logit_bias", {"bias": [(5, 1.0)]})],
    "penalties (last 64)": [("penalties", {"repeat": 1.2})],
    "penalties (all 4096)": [("penalties", {"repeat": 1.2, "last_n": -1})],
    "dry (last 64)": [("dry", {"multiplier": 0.8})],
    "dry (all 4096)": [("dry", {"multiplier": 0.8, "last_n": -1})],
    "top_n_sigma": [("top_n_sigma", {"n": 1.0})],
    "top_k 50": [("top_k", {"k": 50})],
    "top_k 1000": [("top_k", {"k": 1000})],
    "typical 0.9": [("typical", {"p": 0.9})],
    "top_p 0.8": [("top_p", {"p": 0.8})],
    "min_p 0.05": [("min_p", {"p": 0.05})],
    "xtc": [("xtc", {"probability": 1.0})],
    "temperature 0.8": [("temperature", {"temperature": 0.8})],
    "temperature 0": [("temperature", {"temperature": 0.0})],
    "default: top_k, top_p, temperature": DEFAULT,
    "preset penalty_sample": [
        ("penalties", {"repeat": 1.2, "last_n": 32}),
        ("top_k", {"k": 50}),
        ("top_p", {"p": 0.8, "min_keep": 5, "inclusive": False}),
    ],
    "all ten": [
        ("logit_bias", {"bias": [(5, 1.0)]}),
        ("penalties", {"repeat": 1.1}),
        ("dry", {"multiplier": 0.8}),
        ("top_n_sigma", {"n": 2.0}),
        ("top_k", {}),
        ("typical", {"p": 0.95}),
        ("top_p", {}),
        ("min_p", {"p": 0.05}),
        ("xtc", {"probability": 0.5}),
        ("temperature", {}),
    ],
}


def microseconds(
    call: Callable[[int], object], prepare: Callable[[], object], n: int = 300
) -> float:
    times = []
    for i in range(n):
        prepare()
        start = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - start)
    return round(float(np.quantile(times, 0.1)) * 1e6, 1)


def measure(logits: NDArray[np.float32], history: NDArray[np.int32]) -> dict[str, float]:
    row = logits.copy()

    def restore() -> None:
        row[:] = logits

    found = {}
    for name, stages in CHAINS.items():
        chain = SamplerChain(VOCAB, stages, seed=1, choice=0)
        found[name] = microseconds(lambda i, c=chain: c.apply(row, history, i), restore)
    found["draw from all"] = microseconds(lambda i: draw(row, seed=1, choice=0, index=i), restore)
    found["top_logprobs 20"] = microseconds(lambda i: top_logprobs(row, 5, 20), restore)

    def cut() -> None:
        restore()
        SamplerChain(VOCAB, DEFAULT, seed=1, choice=0).apply(row, history, 0)

    found["draw behind the default chain"] = microseconds(
        lambda i: draw(row, seed=1, choice=0, index=i), cut
    )
    return found


def main() -> None:
    random = np.random.default_rng(1)
    peaked = random.standard_normal(VOCAB) * 2.5
    peaked[random.integers(0, VOCAB, 200)] += random.exponential(4, 200) + 5
    flat = random.standard_normal(VOCAB) * 0.1
    history = random.integers(0, VOCAB, 4096).astype(np.int32)
    results = {
        name: measure(row.astype(np.float32), history)
        for name, row in (("peaked", peaked), ("flat", flat))
    }
    print(f"{'microseconds':40} {'peaked':>8} {'flat':>8}")
    for name in results["peaked"]:
        print(f"{name:40} {results['peaked'][name]:8.1f} {results['flat'][name]:8.1f}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
