"""A checkpoint or a packed file on the CPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np

from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.folder import Checkpoint
from glmd.checkpoint.source import open_model
from glmd.daemon.engine.loaded import Loaded
from glmd.daemon.engine.memory import available_memory, plan_kv
from glmd.daemon.engine.messages import Load
from glmd.daemon.engine.packing import Progress, pack_tensors, packed_size
from glmd.daemon.native import _engine
from glmd.errors import Code, ModelError
from glmd.packed import VECTOR, Mode, PackedModel, PackedTensor


def load_cpu(load: Load, progress: Progress) -> Loaded:
    """A packed file is mapped and stays so; a checkpoint is packed tensor by tensor in `load.mode`
    (F16 where none is given). Raises ModelError."""
    started = time.monotonic()
    model = open_model(Path(load.model))
    mode = _mode(load, model)
    packed = isinstance(model, PackedModel)
    plan = plan_kv(
        model.config,
        model.nbytes if isinstance(model, PackedModel) else packed_size(model, mode),
        max(0, available_memory() - load.reserved) // load.sharing,
        context=load.context,
        slots=load.slots,
        fewest=load.fewest,
        advice="" if packed or mode == "int4" else "--mode int4 or ",
    )
    try:
        weights = _engine.CpuWeights(_shape(model.config), mode)
        for tensor in _tensors(model, mode, progress, load.threads):
            if tensor.kind == VECTOR:
                weights.set_vector(tensor.name, tensor.data.view(np.float32))
            else:
                weights.set_matrix(tensor.name, tensor.data, tensor.kind)
        backend = _engine.CpuBackend(
            weights, slots=plan.slots, max_seq=plan.context, threads=load.threads
        )
    except MemoryError as error:
        raise ModelError(
            f"Memory ran out while {load.model} was being loaded.",
            hint="Close other programs, or choose a smaller --mode or --context.",
            code=Code.OUT_OF_MEMORY,
        ) from error
    except (ValueError, _engine.EngineError) as error:
        raise ModelError(f"{load.model} does not fit the CPU backend: {error}.") from error
    return Loaded(
        backend=backend,
        config=model.config,
        mode=mode,
        slots=plan.slots,
        context=plan.context,
        nbytes=weights.nbytes,
        kv_bytes=plan.slots * plan.context * model.config.kv_bytes_per_token,
        seconds=time.monotonic() - started,
    )


def _mode(load: Load, model: Checkpoint | PackedModel) -> Mode:
    asked = next((mode for mode in get_args(Mode) if mode == load.mode), None)
    if load.mode and asked is None:
        raise ModelError(
            f"There is no mode {load.mode!r}.", hint=f"There are {', '.join(get_args(Mode))}."
        )
    if isinstance(model, PackedModel) and asked not in (None, model.mode):
        raise ModelError(
            f"{model.path} was packed as {model.mode} and cannot be loaded as {asked}.",
            hint="Leave --mode away, or pack the checkpoint again.",
        )
    return model.mode if isinstance(model, PackedModel) else asked or "f16"


def _tensors(
    model: Checkpoint | PackedModel, mode: Mode, progress: Progress, threads: int
) -> Iterator[PackedTensor]:
    if isinstance(model, PackedModel):
        yield from model.tensors()
        progress(model.nbytes, model.nbytes)
    else:
        yield from pack_tensors(model, mode, progress, threads)


def _shape(config: ModelConfig) -> _engine.CpuShape:
    return _engine.CpuShape(
        layers=config.num_layers,
        hidden=config.hidden_size,
        ffn=config.ffn_hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.multi_query_group_num,
        head_dim=config.kv_channels,
        vocab=config.padded_vocab_size,
        norm_eps=config.layernorm_epsilon,
        rope_base=config.rope_base,
    )
