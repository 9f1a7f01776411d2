"""What a ChatGLM3 bmodel can do, read from its nets.

Recipes and compilers differ in the names, shapes and outputs of the nets. What is read here is
what makes a difference to whoever runs them; nothing is concluded from where a file comes from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from glmd.bmodel.layers import (
    Decode,
    HiddenLayout,
    KvForm,
    Prefill,
    Unexpected,
    Width,
    read_decode,
    read_prefill,
)
from glmd.bmodel.nets import AddrMode, Bmodel, Net, Stage, Weight
from glmd.bmodel.quantisation import Matrix, Quantisation, guess
from glmd.bmodel.rows import LAYER, has_row_layers, read_row_layers
from glmd.errors import ModelError

CHIP = "BM1684X"

# Nets that choose a token on the device, for the host to use instead of the logits.
HEADS = ("greedy_head", "penalty_sample_head", "sample_head", "top_head")

_LAYER = re.compile(r"(?:glm_)?(block|block_cache)_(\d+)")
_EMBEDDINGS = ("embedding", "embedding_cache")
_LM_HEAD = "lm_head"

Output = Literal["logits", "token"]


@dataclass(frozen=True)
class Features:
    """`prefill`: the lengths of prompt that the nets read at once, ascending; `chunks`: of what
    comes behind others, () where that is read token by token; `decodes`: conversations that get
    another token at once; `seq_length`: tokens that the cache holds. `hidden_layout`: of a prompt's
    hidden states. `kv_form`: a decode step returns the new row of the cache, or the whole cache
    with its oldest row dropped and the new one last. `width.kv_heads`: on one device. `mask_dtype`
    "f16" goes with added masks of 0 and -10000. `output`: of lm_head. `vocab`: None where no net
    tells. `others`: nets of no known use. `addr_mode`: of the nets that decode;
    `prefill_addr_mode`: of those that read a prompt. `quantisation`: of the layers,
    `head_quantisation`: of lm_head; None where sizes do not tell.
    """

    layers: int
    seq_length: int
    prefill: tuple[int, ...]
    width: Width
    hidden_layout: HiddenLayout
    kv_form: KvForm
    output: Output
    vocab: int | None
    heads: tuple[str, ...]
    others: tuple[str, ...]
    devices: int
    addr_mode: AddrMode
    prefill_addr_mode: AddrMode
    quantisation: Quantisation | None
    head_quantisation: Quantisation | None
    chunks: tuple[int, ...] = ()
    decodes: tuple[int, ...] = (1,)


def read_features(bmodel: Bmodel) -> Features:
    """Raises ModelError for what is no ChatGLM3 for this chip, with what was found and what was
    expected."""
    try:
        return _read(bmodel)
    except Unexpected as error:
        raise ModelError(
            f"{bmodel.path} cannot be served: {error}.",
            hint="Compile the checkpoint with `glmd compile`, or look at the nets with "
            "`glmd compile info`.",
        ) from error


def _read(bmodel: Bmodel) -> Features:
    if bmodel.chip != CHIP:
        raise Unexpected(f"it is compiled for {bmodel.chip or 'no chip'}", CHIP)
    return _read_rows(bmodel) if has_row_layers(bmodel) else _read_blocks(bmodel)


def _read_rows(bmodel: Bmodel) -> Features:
    if bmodel.devices != 1:
        raise Unexpected(f"it is compiled for {bmodel.devices} devices", "nets like these for one")
    layers = read_row_layers(bmodel)
    width = layers.width
    counts = {*layers.prefills, *layers.chunks, *layers.decodes}
    _check_embedding(bmodel, counts, width.hidden)
    output, vocab = _lm_head(bmodel, width.hidden)
    if output != "logits":
        raise Unexpected("lm_head chooses a token", "one that makes logits")
    return Features(
        layers=layers.count,
        seq_length=layers.seq_length,
        prefill=layers.prefills,
        width=width,
        hidden_layout="[S,H]",
        kv_form="row",
        output=output,
        vocab=vocab,
        heads=tuple(name for name in HEADS if bmodel.net(name)),
        others=_others(bmodel, LAYER),
        devices=bmodel.devices,
        addr_mode=layers.decode.addr_mode,
        prefill_addr_mode=layers.prompt.addr_mode,
        quantisation=_quantisation(layers.decode, width, bmodel.devices),
        head_quantisation=_head_quantisation(bmodel, width.hidden, vocab),
        chunks=layers.chunks,
        decodes=layers.decodes,
    )


def _read_blocks(bmodel: Bmodel) -> Features:
    blocks, caches = _layers(bmodel)
    prefills = [read_prefill(blocks[0].name, stage.on(0)) for stage in blocks[0].stages]
    decode = read_decode(caches[0].name, _only_stage(caches[0]).on(0))
    for prefill in prefills:
        _check_width(blocks[0].name, prefill, caches[0].name, decode)
    lengths = tuple(sorted(prefill.length for prefill in prefills))
    _check_embedding(bmodel, {1, *lengths}, decode.width.hidden)
    if lm_head := bmodel.net(_LM_HEAD):
        _only_stage(lm_head)
    output, vocab = _lm_head(bmodel, decode.width.hidden)
    return Features(
        layers=len(blocks),
        seq_length=decode.rows,
        prefill=lengths,
        width=decode.width,
        hidden_layout=prefills[0].layout,
        kv_form=decode.kv_form,
        output=output,
        vocab=vocab,
        heads=tuple(name for name in HEADS if bmodel.net(name)),
        others=_others(bmodel, _LAYER),
        devices=bmodel.devices,
        addr_mode=caches[0].addr_mode,
        prefill_addr_mode=blocks[0].addr_mode,
        quantisation=_quantisation(caches[0], decode.width, bmodel.devices),
        head_quantisation=_head_quantisation(bmodel, decode.width.hidden, vocab),
    )


def _others(bmodel: Bmodel, layer: re.Pattern[str]) -> tuple[str, ...]:
    known = {*_EMBEDDINGS, _LM_HEAD, *HEADS}
    return tuple(
        net.name for net in bmodel.nets if net.name not in known and not layer.fullmatch(net.name)
    )


def _layers(bmodel: Bmodel) -> tuple[list[Net], list[Net]]:
    """The two nets of every layer, alike in all of them."""
    found: dict[str, dict[int, Net]] = {"block": {}, "block_cache": {}}
    for net in bmodel.nets:
        if match := _LAYER.fullmatch(net.name):
            found[match[1]][int(match[2])] = net
    numbers = set(found["block"]) | set(found["block_cache"])
    if not numbers:
        names = [net.name for net in bmodel.nets]
        listed = ", ".join(names[:3]) + (" and so on" if len(names) > 3 else "")
        raise Unexpected(f"its nets are {listed}", "block_0, block_cache_0 and so on")
    for kind, nets in found.items():
        for number in range(max(numbers) + 1):
            if number not in nets:
                raise Unexpected(f"it has no {kind}_{number}", f"one for each of {len(numbers)}")
            if _shapes(nets[number]) != _shapes(nets[0]):
                raise Unexpected(
                    f"{nets[number].name} has other tensors than {nets[0].name}", "the same"
                )
    blocks, caches = ([nets[n] for n in sorted(nets)] for nets in found.values())
    return blocks, caches


def _shapes(net: Net) -> list[list[tuple[str, tuple[int, ...], int]]]:
    return [
        [(tensor.dtype, tensor.shape, tensor.device) for tensor in (*stage.inputs, *stage.outputs)]
        for stage in net.stages
    ]


def _only_stage(net: Net) -> Stage:
    if len(net.stages) != 1:
        raise Unexpected(f"{net.name} has {len(net.stages)} stages", "one")
    return net.stages[0]


def _check_width(block: str, prefill: Prefill, cache: str, decode: Decode) -> None:
    if prefill.width != decode.width:
        raise Unexpected(
            f"{block} has {prefill.width} and {cache} {decode.width}", "the same in both"
        )
    if prefill.length > decode.rows:
        raise Unexpected(
            f"{block} reads {prefill.length} tokens into a cache of {decode.rows}", "room for them"
        )


def _check_embedding(bmodel: Bmodel, lengths: set[int], hidden: int) -> None:
    """That so many ids can be looked up, for each of the lengths."""
    nets = [net for net in map(bmodel.net, _EMBEDDINGS) if net]
    found = [stage.on(0) for net in nets for stage in net.stages]
    if not found:
        raise Unexpected("it has no embedding", "a net that looks up the hidden states of ids")
    for stage in found:
        ids, rows = stage.inputs[:1], stage.outputs[:1]
        if not ids or not rows or rows[0].elements != ids[0].elements * hidden:
            raise Unexpected(
                f"embedding takes {', '.join(map(str, stage.inputs))} and returns "
                f"{', '.join(map(str, stage.outputs))}",
                f"ids and {hidden} values for each",
            )
    counts = {stage.inputs[0].elements for stage in found}
    if missing := lengths - counts:
        raise Unexpected(
            f"embedding looks up {' or '.join(map(str, sorted(counts)))} ids",
            f"one that looks up {min(missing)}",
        )


def _lm_head(bmodel: Bmodel, hidden: int) -> tuple[Output, int | None]:
    """What it gives, and the size of the vocabulary."""
    net = bmodel.net(_LM_HEAD)
    if net is None:
        raise Unexpected("it has no lm_head", "one that makes logits or a token")
    stage = min((stage.on(0) for stage in net.stages), key=lambda s: s.inputs[0].elements)
    if len(stage.inputs) != 1 or stage.inputs[0].elements != hidden or not stage.outputs:
        raise Unexpected(
            f"lm_head takes {', '.join(map(str, stage.inputs))}", f"{hidden} hidden values"
        )
    result = stage.outputs[0]
    if result.elements > 1:
        return "logits", result.elements
    return "token", _vocab_of_embedding(bmodel, hidden)


def _vocab_of_embedding(bmodel: Bmodel, hidden: int) -> int | None:
    """Rows of its table, whose values are as wide as what comes out."""
    embedding = bmodel.net(_EMBEDDINGS[0])
    if embedding is None:
        return None
    stage = embedding.stages[0]
    tables = [w.nbytes for w in stage.parts[0].weights if "Gather" in w.operation]
    row = stage.outputs[0].nbytes // stage.inputs[0].elements
    return tables[0] // row if len(tables) == 1 and row and tables[0] % row == 0 else None


def _quantisation(cache: Net, width: Width, devices: int) -> Quantisation | None:
    """From the matrices whose shapes follow from the layer's tensors: query, key and value, apart
    or in one, and what leads back from the heads to the hidden states. Of several devices the first
    has a part of them, or all."""
    hidden, narrow = width.hidden, width.kv_heads * width.head_dim
    layouts = []
    for share in {hidden, hidden // devices}:
        back, query, key = Matrix(share, hidden), Matrix(hidden, share), Matrix(hidden, narrow)
        layouts += [[back, Matrix(hidden, share + 2 * narrow)], [back, query, key, key]]
    return guess(_weights(cache), layouts)


def _head_quantisation(bmodel: Bmodel, hidden: int, vocab: int | None) -> Quantisation | None:
    net = bmodel.net(_LM_HEAD)
    if net is None or vocab is None:
        return None
    shares = {vocab, vocab // bmodel.devices}
    return guess(_weights(net), [[Matrix(hidden, share)] for share in shares])


def _weights(net: Net) -> list[Weight]:
    return [weight for part in net.stages[0].on(0).parts for weight in part.weights]
