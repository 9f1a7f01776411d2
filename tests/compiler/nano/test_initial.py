"""The weights that training starts from."""

from __future__ import annotations

import random

import pytest

from glmd.compiler.nano.shape import Shape

pytestmark = pytest.mark.needs("torch")


def test_the_first_weights_copy_what_followed_a_token_before() -> None:
    """In random ids of which a part comes again, half of that part is the likeliest next id beside
    the one it follows, which always is its own best successor at first."""
    import torch

    from glmd.compiler.nano.initial import initialise
    from glmd.compiler.nano.model import ChatGLM

    shape = Shape()
    model = ChatGLM(shape)
    initialise(model, shape, 1)
    rng = random.Random(3)
    rows = []
    for start in range(0, 40, 10):
        ids = [rng.randrange(3, shape.pieces) for _ in range(60)]
        rows.append(ids + ids[start : start + 12])
    known = torch.tensor(rows)
    with torch.no_grad():
        logits = model(known)[:, 60:-1]
    logits.scatter_(2, known[:, 60:-1, None], -torch.inf)
    assert (logits.argmax(-1) == known[:, 61:]).float().mean() > 0.5


def test_the_same_seed_gives_the_same_weights() -> None:
    import torch

    from glmd.compiler.nano.initial import initialise
    from glmd.compiler.nano.model import ChatGLM

    shape = Shape(layers=3, hidden=128, heads=4, groups=2, ffn=64)
    models = [ChatGLM(shape) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        initialise(model, shape, seed)
    first, again, other = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(
        first["transformer.output_layer.weight"], other["transformer.output_layer.weight"]
    )
