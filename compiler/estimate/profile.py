"""The profile that model_deploy leaves of a net: compiler_profile_0.txt.

For each part of the net that is launched at once it lists the commands of both engines with their
times, and below them, which is what is read here:

    TCYC : 7890123                      cycles of the part, of one nanosecond each
    GDMA SUMMARY : |dr[0] S2L:421…|dr[1] L2S:14…|dr[2] S2S:0|dr[3] L2L:0

The latter are bytes that were moved: S is the chip's DDR, L the memory at the processors. Source of
the format: the files that TPU-MLIR 1.30.2 writes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from glmd.errors import CompileFailed

_CYCLES = re.compile(r"^TCYC : (\d+)", re.MULTILINE)
_MOVED = re.compile(r"^GDMA SUMMARY : .*S2L:(\d+)\|.*L2S:(\d+)\|.*S2S:(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Profile:
    """One run of a net. `ddr_bytes`: read from the chip's memory and written to it."""

    seconds: float
    ddr_bytes: int

    @property
    def bandwidth(self) -> float:
        """Bytes a second."""
        return self.ddr_bytes / self.seconds


def read_profile(path: Path) -> Profile | None:
    """None for a net with dynamic shapes, whose profile is empty. Raises CompileFailed for a file
    that is not such a profile."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CompileFailed(
            f"{path} cannot be read: {error.strerror}.", hint="Compile the net again."
        ) from error
    if not text:
        return None
    cycles, moved = _CYCLES.findall(text), _MOVED.findall(text)
    if not cycles or len(cycles) != len(moved):
        raise CompileFailed(
            f"{path} is not a profile as TPU-MLIR 1.30.2 writes it.",
            hint="Estimates need that version: `glmd toolchain install` installs it.",
        )
    return Profile(
        seconds=sum(map(int, cycles)) * 1e-9,
        # What goes from DDR to DDR is read and written.
        ddr_bytes=sum(
            int(read) + int(written) + 2 * int(copied) for read, written, copied in moved
        ),
    )
