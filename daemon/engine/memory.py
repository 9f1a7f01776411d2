"""How much memory this process may still take, and what of it the KV cache gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from glmd.checkpoint.config import ModelConfig
from glmd.errors import Code, ModelError

# Scratch of a step, the interpreter, and some air.
HEADROOM = 256 << 20

# More conversations than this are not kept in the KV cache unless asked for.
MOST_SLOTS = 32

# The automatic number of slots leaves some of the free memory to others.
KV_SHARE = 0.8

GIB = 1 << 30


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that can be taken without swapping: what the machine has free, or what the tightest
    control group around this process leaves. `root`: where proc and sys are mounted."""
    free: list[int] = [psutil.virtual_memory().available]
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            files = ("memory.max", "memory.current", "inactive_file")
            free += _group_memory(root / "sys/fs/cgroup", group, files)
        elif "memory" in controllers.split(","):
            v1_files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            free += _group_memory(root / "sys/fs/cgroup/memory", group, v1_files)
    return max(0, min(free))


def _group_memory(mount: Path, group: str, files: tuple[str, str, str]) -> list[int]:
    """What a group and each of its parents leaves. Inside a container the mount may show the group
    itself as its root, so a folder that is not there says nothing."""
    limit_file, usage_file, cache_field = files
    left = []
    names = [part for part in group.split("/") if part not in ("", "..")]
    for depth in range(len(names) + 1):
        folder = mount.joinpath(*names[:depth])
        try:
            limit = (folder / limit_file).read_text().strip()
            usage = int((folder / usage_file).read_text())
            fields = dict(
                line.split() for line in (folder / "memory.stat").read_text().splitlines()
            )
        except (OSError, ValueError):
            continue
        if limit != "max":
            # Cached files count as usage, and the kernel drops them when memory is asked for.
            left.append(int(limit) - usage + int(fields.get(cache_field, 0)))
    return left


@dataclass(frozen=True)
class KvPlan:
    """`slots` conversations of `context` tokens each."""

    slots: int
    context: int


def plan_kv(
    config: ModelConfig,
    weight_bytes: int,
    available: int,
    *,
    context: int = 0,
    slots: int = 0,
    fewest: int = 0,
    advice: str = "",
) -> KvPlan:
    """Divide `available` bytes between weights and KV cache; 0 is automatic.

    The context is the model's own unless a smaller one is asked for; slots are as many as fit into
    what the weights leave. Raises ModelError (out_of_memory) if not even one does, or not the
    number asked for, nor the `fewest` worth having; `advice` is part of its hint.
    """
    context = min(context or config.seq_length, config.seq_length)
    slot_bytes = context * config.kv_bytes_per_token
    left = available - weight_bytes - HEADROOM
    needed_slots = slots or fewest or 1
    if left < needed_slots * slot_bytes:
        needed = weight_bytes + HEADROOM + needed_slots * slot_bytes
        fewer = "fewer --slots or " if needed_slots > 1 else ""
        conversations = "one conversation" if needed_slots == 1 else f"{needed_slots} conversations"
        raise ModelError(
            f"The model needs {needed / GIB:.1f} GiB of memory ({weight_bytes / GIB:.1f} for its "
            f"weights, {needed_slots * slot_bytes / GIB:.1f} for {conversations} of {context} "
            f"tokens), and {available / GIB:.1f} GiB are free.",
            hint=f"Close other programs, or choose {fewer}{advice}a smaller --context.",
            code=Code.OUT_OF_MEMORY,
        )
    automatic = min(MOST_SLOTS, max(needed_slots, int(KV_SHARE * left) // slot_bytes))
    return KvPlan(slots or automatic, context)
