"""The weights that training starts from: small random ones, and two-token copying built in.

Attention that copies ("what followed this token the last time?") is made of two heads in
consecutive layers: one brings each position the token before it, the next one looks for a position
whose earlier token is the current one and copies what stands there. Found by gradient descent alone
it took glm3-nano 2,500 steps. Both are linear maps that can be written down, so they are: training
then only has to refine them (the idea is that of mimetic initialisation, Trockman and Kolter 2023).
"""

from __future__ import annotations

import torch
from torch import Tensor

from glmd.compiler.nano.model import ChatGLM, SelfAttention
from glmd.compiler.nano.shape import Shape

EMBEDDING = 0.2
"""Standard deviation of the embedding, and the scale of what the heads add to it."""

OUTPUT = 0.02
POSITION = 6.0
"""Query and key bias of a head that looks at a fixed distance."""

MATCH = 2.0
"""Scale of query and key of a head that looks for an equal token."""


def initialise(model: ChatGLM, shape: Shape, seed: int) -> None:
    """Sets every weight of `model`; the same seed gives the same ones. Norms stay at 1."""
    generator = torch.Generator().manual_seed(seed)
    encoder = model.transformer["encoder"]["layers"]
    embedding = model.transformer["embedding"]["word_embeddings"].weight
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
            elif weight.dim() == 2:
                deep = name.endswith(("dense.weight", "dense_4h_to_h.weight"))
                std = OUTPUT / (2 * shape.layers) ** 0.5 if deep else OUTPUT
                weight.normal_(std=std, generator=generator)
        embedding.normal_(std=EMBEDDING, generator=generator)
        # A copied embedding is the logit of its own token.
        model.transformer["output_layer"].weight.copy_(embedding * (OUTPUT / EMBEDDING))
        token, before, before_that = _directions(shape, 3, generator)
        _look_back(encoder[0].self_attention, token, [before, before_that])
        for layer in encoder[1:3]:
            _copy_what_followed(layer.self_attention, token, before, generator)


def _directions(shape: Shape, count: int, generator: torch.Generator) -> list[Tensor]:
    """`count` projections ``[head, hidden]`` with orthonormal rows, each apart from the others."""
    square = torch.randn(shape.hidden, count * shape.head, generator=generator)
    return list(torch.linalg.qr(square)[0].T.split(shape.head))


def _look_back(attention: SelfAttention, token: Tensor, places: list[Tensor]) -> None:
    """Heads of the first group: head n adds the token n + 1 positions back, in ``places[n]``.

    With constant query and key, rotary embedding makes the score of distance d a sum of
    cos(frequency (d - n - 1)), which is greatest where all its terms are.
    """
    shape, size = attention.shape, attention.shape.head
    rotated = size // 2
    frequencies = 10000.0 ** (-torch.arange(0, rotated, 2).float() / rotated)
    key = shape.heads * size
    value = key + shape.groups * size
    bias, weight = attention.query_key_value.bias, attention.query_key_value.weight
    bias[key : key + rotated : 2] = POSITION
    weight[value : value + size] = token
    for head, place in enumerate(places):
        first = head * size
        angles = -frequencies * (head + 1)
        bias[first : first + rotated : 2] = POSITION * angles.cos()
        bias[first + 1 : first + rotated : 2] = POSITION * angles.sin()
        attention.dense.weight[:, first : first + size] = place.T * EMBEDDING


def _copy_what_followed(
    attention: SelfAttention, token: Tensor, before: Tensor, generator: torch.Generator
) -> None:
    """The first head: finds positions behind a token equal to the current one and copies them."""
    shape, size = attention.shape, attention.shape.head
    key = shape.heads * size
    value = key + shape.groups * size
    (copied,) = _directions(shape, 1, generator)
    weight = attention.query_key_value.weight
    weight[:size] = token * MATCH
    weight[key : key + size] = before * MATCH
    weight[value : value + size] = copied
    attention.dense.weight[:, :size] = copied.T * EMBEDDING
