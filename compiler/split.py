"""Whether several devices share the weights of a net, or have a copy each."""

from __future__ import annotations

from pathlib import Path

from glmd.bmodel.reader import read_bmodel
from glmd.compiler.nets import Kind, Net
from glmd.errors import CompileFailed

# Nets that are compiled for several devices to save memory on each; of the others, which are few,
# every device has a copy, or the first one has the only one.
_SPLIT: tuple[Kind, ...] = ("block", "block_cache")


def check_split(net: Net, model: Path) -> None:
    """Raises CompileFailed for a layer of which a device has all the weights: TPU-MLIR compiles
    copies, without a word, where it finds nothing to split."""
    if net.kind not in _SPLIT:
        return
    bmodel = read_bmodel(model)
    most = max(bmodel.memory(device).weights for device in range(bmodel.devices))
    if most >= bmodel.weight_bytes:
        raise CompileFailed(
            f"{net.name} is not split: each of {bmodel.devices} devices has all of its weights, "
            f"{most / 1e6:.1f} MB. TPU-MLIR splits matrices of more than 4 Mi elements only.",
            hint="Leave --num-device out: several chips then serve as replicas of the whole model.",
        )
