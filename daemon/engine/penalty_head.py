"""Which chains the penalty head on the device computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glmd.daemon.engine.stages import complete, is_neutral
from glmd.daemon.native._engine import HeadSettings
from glmd.wire.sampling import Stage

# What the compiled head does and no setting changes: it takes the 50 most likely tokens, divides by
# the temperature, and keeps those whose probabilities stay below top_p, five at least.
TOP_K = 50
MIN_KEEP = 5

_ORDER = ("penalties", "top_k", "temperature", "top_p")


class PenaltyHead(NamedTuple):
    """`last_n`: ids that the penalty is for, -1 all."""

    temperature: float
    top_p: float
    penalty: float
    last_n: int

    def settings(self, history: NDArray[np.int32]) -> HeadSettings:
        """For the token behind `history`, int32."""
        ids = history[len(history) - self.last_n :] if 0 <= self.last_n < len(history) else history
        return HeadSettings(self.temperature, self.top_p, self.penalty, ids)


def penalty_head(stages: Sequence[Stage]) -> PenaltyHead | None:
    """The settings with which the head does what these stages do, or None."""
    active = [stage for stage in stages if stage.name not in _ORDER or not is_neutral(stage)]
    if [stage.name for stage in active] != [
        name for name in _ORDER if any(stage.name == name for stage in active)
    ]:
        return None
    params: dict[str, dict[str, Any]] = {stage.name: complete(stage) for stage in active}
    penalties = params.get("penalties", {"repeat": 1.0, "last_n": 0})
    temperature = params.get("temperature", {"temperature": 1.0})["temperature"]
    if (
        params.get("top_k", {}).get("k") != TOP_K
        or "top_p" not in params
        or params["top_p"]["min_keep"] != MIN_KEEP
        or params["top_p"]["inclusive"]
        or (penalties.get("frequency", 0.0), penalties.get("presence", 0.0)) != (0.0, 0.0)
        or temperature == 0.0
    ):
        return None
    return PenaltyHead(temperature, params["top_p"]["p"], penalties["repeat"], penalties["last_n"])
