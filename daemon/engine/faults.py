"""What a request is told when something goes wrong under it."""

from __future__ import annotations

import traceback

from glmd.daemon.engine.messages import Failed
from glmd.daemon.native._engine import EngineError
from glmd.errors import Code, DaemonError, EngineFailed, GlmdError


def failed(id: int, error: Exception) -> Failed:
    """The event that ends request `id`. Whatever is no error on purpose is a bug: its traceback
    goes to the log, and the request alone pays for it."""
    if isinstance(error, EngineError):
        error = _engine_failed(error)
    elif not isinstance(error, GlmdError):
        traceback.print_exception(error)
        error = _fault(error)
    return Failed(id, error.wire_code, error.message, error.hint, error.plugin)


def _engine_failed(error: EngineError) -> GlmdError:
    status = f" (status {error.status})" if error.status else ""
    return EngineFailed(
        f"The engine's {error.call} failed{status}: {error}.",
        hint="Other requests go on; try again, and see the daemon's log if it happens again.",
    )


def _fault(error: Exception) -> GlmdError:
    if isinstance(error, MemoryError):
        return EngineFailed(
            "Memory ran out under this request.",
            hint="Close other programs, or start with a smaller --context or fewer slots.",
            code=Code.OUT_OF_MEMORY,
        )
    return DaemonError(
        f"A fault in the engine ended this request: {error!r}.",
        hint="The daemon's log shows where it happened.",
    )
