"""Launches and bytes a token costs on the BM1684X, counted on the simulator.

    python bench/bm1684x/traffic.py MODEL.bmodel [LIBSOPHON]

LIBSOPHON: the folder with the simulator; without it, that of the installed toolchain. Counts are
exact and the same on a card; nothing here is timed. The backend runs in this process, which prints
what the simulator prints as well.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from glmd.daemon.native import _engine as native
from glmd.daemon.sophon import simulator_folder

COUNTERS = (
    "launches",
    "uploads",
    "uploaded",
    "downloads",
    "downloaded",
    "copies",
    "copied",
    "relocated",
)
TOKENS = 8


def counted(backend: native.Bm1684xBackend) -> np.ndarray:
    traffic = backend.traffic
    return np.array([getattr(traffic, name) for name in COUNTERS], float)


def step(backend: native.Bm1684xBackend, slot: int, pos: int, n: int, want: native.Want) -> None:
    head = native.HeadSettings(0.8, 0.9, 1.1, np.arange(8, dtype=np.int32))
    span = native.Span(slot, pos, np.full(n, 5, np.int32), want, head)
    backend.forward([span], native.CancelFlag())


def rows(backend: native.Bm1684xBackend) -> list[tuple[str, np.ndarray]]:
    """What a prompt costs, then a token of each kind, then one in turns with another slot."""
    outputs = [want for want in backend.capabilities.outputs if want is not native.Want.none]
    prompt = backend.info.max_seq // 4
    found = []
    start = counted(backend)
    step(backend, 0, 0, prompt, outputs[0])
    found.append((f"prompt of {prompt}", counted(backend) - start))
    step(backend, 1, 0, prompt, outputs[0])
    for slot in (0, 1):
        step(backend, slot, prompt, 1, outputs[0])  # the slot's whole mask goes up once
    for want in outputs:
        start = counted(backend)
        for i in range(1, TOKENS + 1):
            step(backend, 0, prompt + i, 1, want)
        found.append((f"token: {want.name}", (counted(backend) - start) / TOKENS))
        backend.truncate(0, prompt + 1)
        step(backend, 0, prompt, 1, outputs[0])
    start = counted(backend)
    for i in range(1, TOKENS + 1):
        for slot in (0, 1):
            step(backend, slot, prompt + i, 1, outputs[0])
    found.append(("token, two in turns", (counted(backend) - start) / TOKENS / 2))
    return found


def main() -> None:
    folder = simulator_folder(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    backend = native.Bm1684xBackend(
        sys.argv[1], devices=[0], slots=2, libsophon=str(folder), simulate=True
    )
    table = rows(backend)
    del backend
    print(f"{'':22}" + "".join(f"{name:>12}" for name in COUNTERS))
    for label, counts in table:
        print(f"{label:22}" + "".join(f"{count:12.1f}" for count in counts))


if __name__ == "__main__":
    main()
