"""A plugin's sampler at work on one answer, held to its contract."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from glmd.errors import Code, EngineFailed, InvalidRequest
from glmd.sampler import Sampler, SamplerContext
from glmd.validation import explain

BUDGET = 0.25  # seconds that a stage may take for one token
MAX_STATE = 65536  # bytes that save() may give: they travel with every token


class PluginStage:
    """One stage of a chain. What goes wrong in the plugin's code is EngineFailed with the plugin's
    name, unless the sampler says that the request is at fault: InvalidRequest."""

    def __init__(
        self,
        sampler: Sampler,
        params: dict[str, Any],
        context: SamplerContext,
        *,
        plugin: str = "",
        watch: AbstractContextManager[object] | None = None,
    ) -> None:
        """`plugin`: whom an error names, else the sampler. `watch` is entered around each call of
        the plugin's code, and may raise when it is left."""
        self._name = sampler.name
        self._plugin = plugin or sampler.name
        self._watch = watch or nullcontext()
        try:
            typed = msgspec.convert(params, sampler.Params)
        except msgspec.ValidationError as error:
            raise InvalidRequest(
                f"The stage {self._name}: {explain(error, sampler.Params, params)}"
            ) from error
        with self._blamed("did not start"):
            self._state = sampler.start(typed, context)
        self._accept: Callable[[int], None] | None = getattr(self._state, "accept", None)
        self._save: Callable[[], bytes] | None = getattr(self._state, "save", None)

    def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32], index: int) -> None:
        """Raises ValueError for logits that were no logits before."""
        _require_finite_maximum(logits)
        # Views of their own, whose shape can be changed without harm.
        row, past = logits.view(), history.view()
        past.flags.writeable = False
        with self._blamed(f"failed at token {index}"):
            given = self._state.apply(row, past)  # type: ignore[func-returns-value]
            if given is not None:
                raise TypeError("apply() gave something back; it is to change the logits in place")
            if row.shape != logits.shape or row.dtype != logits.dtype:
                raise ValueError(
                    f"it left the logits as {row.dtype}{list(row.shape)}, "
                    f"not as {logits.dtype}{list(logits.shape)}"
                )
            _require_finite_maximum(logits)

    def accept(self, token: int) -> None:
        if self._accept is not None:
            with self._blamed(f"did not accept token {token}"):
                self._accept(token)

    def save(self) -> bytes:
        """What `load` needs to go on from here; b"" for a state that follows from the history."""
        if self._save is None:
            return b""
        with self._blamed("did not save its state"):
            state = bytes(self._save())
            if len(state) > MAX_STATE:
                raise ValueError(f"{len(state):,} bytes of state; {MAX_STATE:,} are taken")
        return state

    @property
    def saves(self) -> bool:
        """Whether a replay is by `load`, instead of by accepting tokens."""
        return self._save is not None

    def load(self, data: bytes) -> None:
        with self._blamed("did not load its state"):
            self._state.load(data)  # type: ignore[attr-defined]

    @contextmanager
    def _blamed(self, what: str) -> Iterator[None]:
        try:
            with self._watch:
                yield
        except InvalidRequest:
            raise
        except BaseException as error:
            raise EngineFailed(
                f"The sampler {self._name!r} {what}: {type(error).__name__}: {error}",
                code=Code.PLUGIN_ERROR,
                plugin=self._plugin,
            ) from error


def _require_finite_maximum(logits: NDArray[np.float32]) -> None:
    if not math.isfinite(logits.max()):  # NaN wins every comparison of max
        raise ValueError("a logit is NaN or +inf, or none is left above -inf")
