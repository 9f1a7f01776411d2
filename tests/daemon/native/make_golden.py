"""Make the golden outputs from transformers' GlmForCausalLM.

    python tests/daemon/native/make_golden.py      # needs torch and transformers

For each model of support.glm_models one .npz file:

    prompt        int32 [n]        token ids
    rows          int32 [r]        the positions of the prompt whose logits are kept
    logits        float32 [r, vocab]
    greedy        int32 [64]       the tokens that greedy decoding appends
    top_ids       int32 [64, 8]    the 8 most likely ids before each of them, most likely first
    top_logits    float32 [64, 8]
    largest       float32 [64]     the largest |logit| of those rows
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from support import transformers_glm  # noqa: E402
from support.glm_models import MODELS, Model, tensors, tokens  # noqa: E402

PROMPTS = {"even": 150, "odd": 37, "long-rope": 90, "wide-heads": 70, "many-heads": 5, "deep": 20}
STEPS = 64


def make(name: str, model: Model) -> None:
    oracle = transformers_glm.build(model, tensors(model))
    prompt = tokens(PROMPTS[name], model.vocab)
    rows = np.unique(np.linspace(0, len(prompt) - 1, 12).astype(np.int32))
    logits = transformers_glm.logits(oracle, prompt)
    ids = prompt
    top_ids, top_logits, largest = [], [], []
    for _ in range(STEPS):
        last = transformers_glm.logits(oracle, ids)[-1]
        order = np.argsort(-last, kind="stable")[:8].astype(np.int32)
        top_ids.append(order)
        top_logits.append(last[order])
        largest.append(np.abs(last).max())
        ids = np.append(ids, order[0])
    path = HERE / "golden" / f"{name}.npz"
    np.savez_compressed(
        path,
        prompt=prompt,
        rows=rows,
        logits=logits[rows],
        greedy=ids[len(prompt) :],
        top_ids=np.stack(top_ids),
        top_logits=np.stack(top_logits),
        largest=np.array(largest, dtype=np.float32),
    )
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    for name, model in MODELS.items():
        make(name, model)
