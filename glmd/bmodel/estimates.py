"""What the compiler expects the nets of a bmodel to take, as its manifest has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from glmd.checkpoint.source import MANIFEST

Kind = Literal["prefill", "chunk", "decode"]
Estimates = Mapping[tuple[Kind, int], float]
"""(What a step is, how many rows it computes) -> seconds, launches not counted."""

# The nets of a layer, by what they do; the seed recipe has other names.
_KINDS: Mapping[str, Kind] = {
    "prefill": "prefill",
    "block": "prefill",
    "chunk": "chunk",
    "decode": "decode",
    "block_cache": "decode",
}
_LAYER = re.compile(r"([a-z_]+?)\d*_\d+")
_HEAD = "lm_head"


class _File(msgspec.Struct):
    name: str


class _Net(msgspec.Struct):
    """One net, or one of its stages."""

    name: str
    rows: int = 0
    seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None


class _Manifest(msgspec.Struct):
    file: _File
    nets: list[_Net] = []


def read_estimates(bmodel: Path) -> Estimates:
    """Of all layers and lm_head together, from the manifest beside `bmodel`. Empty where there is
    none, where it is of another file, or where it cannot be read: estimates only help to plan, and
    what runs is measured. A kind of step of which a net has no time is left out."""
    try:
        manifest = msgspec.json.decode((bmodel.parent / MANIFEST).read_bytes(), type=_Manifest)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return _sums(manifest.nets) if manifest.file.name == bmodel.name else {}


def _sums(nets: list[_Net]) -> Estimates:
    heads = {net.rows: net.seconds for net in nets if net.name == _HEAD and net.seconds}
    sums: dict[tuple[Kind, int], float] = {}
    untimed: set[tuple[Kind, int]] = set()
    for net in nets:
        match = _LAYER.fullmatch(net.name)
        if match is None or match[1] not in _KINDS:
            continue
        step = (_KINDS[match[1]], net.rows)
        if net.seconds is None:
            untimed.add(step)
        else:
            sums[step] = sums.get(step, 0.0) + net.seconds
    return {
        (kind, rows): seconds + heads.get(rows if kind == "decode" else 1, 0.0)
        for (kind, rows), seconds in sums.items()
        if (kind, rows) not in untimed
    }
