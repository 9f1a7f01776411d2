"""A bmodel on BM1684X chips, or on their simulator."""

from __future__ import annotations

import time
from pathlib import Path

from glmd.bmodel.estimates import read_estimates
from glmd.bmodel.features import Features, read_features
from glmd.bmodel.reader import read_bmodel
from glmd.daemon.engine.loaded import Loaded
from glmd.daemon.engine.messages import Load
from glmd.daemon.engine.packing import Progress
from glmd.daemon.native import _engine
from glmd.errors import Code, ModelError

_NO_ROOM = 5  # bm_status_t, bmlib_runtime.h

# The simulator tells nobody how much memory it has, and ends the process that asks for more.
_SIMULATED_MEMORY = 3584 << 20


def load_bmodel(load: Load, progress: Progress) -> Loaded:
    """The file is read and judged before a chip is touched. Raises ModelError."""
    started = time.monotonic()
    bmodel = read_bmodel(Path(load.model))
    features = read_features(bmodel)
    mode = features.quantisation.mode if features.quantisation else ""
    needed = max(bmodel.memory(place).total for place in range(features.devices))
    if load.simulate:
        _check_simulator(load, features, needed)
    progress(0, bmodel.nbytes)
    try:
        backend = _engine.Bm1684xBackend(
            load.model,
            devices=load.devices,
            slots=load.slots,
            context=load.context,
            vocab=features.vocab or load.vocab,
            quantisation=mode,
            device_bytes=needed,
            libsophon=load.libsophon,
            simulate=load.simulate,
        )
    except _engine.EngineError as error:
        raise _explained(load, error) from error
    progress(bmodel.nbytes, bmodel.nbytes)
    return Loaded(
        backend=backend,
        config=None,
        mode=mode,
        slots=backend.capabilities.slots,
        context=backend.info.max_seq,
        nbytes=bmodel.nbytes,
        kv_bytes=0,
        seconds=time.monotonic() - started,
        estimates=read_estimates(Path(load.model)),
    )


def _check_simulator(load: Load, features: Features, needed: int) -> None:
    width = features.width
    row = 2 * 2 * width.kv_heads * width.head_dim  # a key and a value in F16
    needed += load.slots * features.layers * features.seq_length * row
    if needed > _SIMULATED_MEMORY:
        raise ModelError(
            f"{load.model} cannot be loaded: it needs {needed >> 20} MiB for itself and the "
            f"conversations, and the simulator has {_SIMULATED_MEMORY >> 20}.",
            hint="Give fewer --slots, or a smaller bmodel.",
            code=Code.OUT_OF_MEMORY,
        )


def _explained(load: Load, error: _engine.EngineError) -> ModelError:
    message = f"{load.model} cannot be loaded: {error}."
    if error.status == _NO_ROOM:
        return ModelError(
            message,
            hint="Stop what else uses the chip (`glmd devices`), give fewer --slots, or a bmodel "
            "of fewer bits or for more devices.",
            code=Code.OUT_OF_MEMORY,
        )
    hints = {
        "dlopen": "--libsophon names the folder of libbmrt.so and libbmlib.so; with --simulate, "
        "the one that also has libcmodel_bm1684x.so.",
        "dlsym": "Install the libsophon that belongs to the driver.",
        "bm_dev_request": "`glmd devices` lists the chips. One that another process uses cannot "
        "be opened.",
        "bmrt_load_bmodel": "`glmd logs` shows what libbmrt said.",
    }
    return ModelError(message, hint=hints.get(error.call, ""))
