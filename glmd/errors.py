"""Every error glmd raises on purpose, and its name on the wire.

    GlmdError
    ├── InvalidRequest          bad_message, invalid_request, duplicate_id
    ├── ContextOverflow         context_overflow
    ├── Unsupported             unsupported
    ├── NotFound                not_found
    ├── SessionConflict         session_conflict
    ├── Busy                    busy, reload_in_progress
    ├── Refused                 protocol_mismatch, hello_first, unauthorized
    ├── DaemonError             stopping, slow_client, expired, taken_over, internal
    ├── EngineFailed            engine_died, engine_failed, plugin_error
    ├── ModelError              model_error, out_of_memory
    ├── StartFailed             raised by `glmd start`, never sent
    ├── CompileFailed           raised by `glmd compile` and `glmd toolchain`, never sent
    └── ConnectionFailed        raised by clients, never sent
        ├── DaemonNotRunning
        └── DaemonTimeout

A message is one sentence saying what happened and where; `hint` says what to do next.
"""

from __future__ import annotations

from enum import Enum


class Code(str, Enum):
    """Error codes on the wire. Codes are added, never renamed: see docs/protocol.md."""

    BAD_MESSAGE = "bad_message"  # not a message of this protocol
    INVALID_REQUEST = "invalid_request"  # a field has a value it cannot have
    DUPLICATE_ID = "duplicate_id"  # this connection already uses the request id
    CONTEXT_OVERFLOW = "context_overflow"  # prompt longer than the context
    UNSUPPORTED = "unsupported"  # the loaded model or build cannot do this
    NOT_FOUND = "not_found"  # no such session, message, request, plugin
    SESSION_CONFLICT = "session_conflict"  # another turn runs on this branch
    BUSY = "busy"  # the queue is full; retry_after_ms says when to try again
    RELOAD_IN_PROGRESS = "reload_in_progress"  # one at a time
    PROTOCOL_MISMATCH = "protocol_mismatch"  # no common protocol version
    HELLO_FIRST = "hello_first"  # the connection has not said hello (to this boot)
    UNAUTHORIZED = "unauthorized"  # not this principal's object
    STOPPING = "stopping"  # the daemon is shutting down
    SLOW_CLIENT = "slow_client"  # no credit for too long
    EXPIRED = "expired"  # the detached stream is gone
    TAKEN_OVER = "taken_over"  # another connection attached to this stream
    ENGINE_DIED = "engine_died"  # the replica died too often
    ENGINE_FAILED = "engine_failed"  # a step failed on the device
    PLUGIN_ERROR = "plugin_error"  # a plugin failed; `plugin` names it
    MODEL_ERROR = "model_error"  # the model cannot be loaded or served
    OUT_OF_MEMORY = "out_of_memory"
    STORAGE_FAILED = "storage_failed"  # the session database cannot be read or written
    INTERNAL = "internal"  # a bug in glmd


class GlmdError(Exception):
    """Base of all errors.

    `code` is the name on the wire, None for what is never sent; `hint` the next step for a person
    ("" where there is none).
    """

    default_code: Code | None = Code.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: Code | None = None,
        retry_after_ms: int | None = None,
        plugin: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code
        self.retry_after_ms = retry_after_ms
        self.plugin = plugin

    @property
    def wire_code(self) -> str:
        """The code as it is sent; to send what is never sent is a bug."""
        return (self.code or Code.INTERNAL).value

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidRequest(GlmdError):
    default_code = Code.INVALID_REQUEST


class ContextOverflow(GlmdError):
    default_code = Code.CONTEXT_OVERFLOW


class Unsupported(GlmdError):
    default_code = Code.UNSUPPORTED


class NotFound(GlmdError):
    default_code = Code.NOT_FOUND


class SessionConflict(GlmdError):
    default_code = Code.SESSION_CONFLICT


class Busy(GlmdError):
    default_code = Code.BUSY


class Refused(GlmdError):
    default_code = Code.UNAUTHORIZED


class DaemonError(GlmdError):
    default_code = Code.INTERNAL


class EngineFailed(GlmdError):
    default_code = Code.ENGINE_FAILED


class ModelError(GlmdError):
    default_code = Code.MODEL_ERROR


class StartFailed(GlmdError):
    """A daemon could not be started: settings, folders, sockets. Never sent on the wire."""

    default_code = None


class CompileFailed(GlmdError):
    """A model could not be compiled, or its compiler not found. Never sent on the wire."""

    default_code = None


class ConnectionFailed(GlmdError):
    """The client could not talk to the daemon. Never sent on the wire."""

    default_code = None


class DaemonNotRunning(ConnectionFailed):
    pass


class DaemonTimeout(ConnectionFailed):
    pass


_CLASSES: dict[Code, type[GlmdError]] = {
    Code.BAD_MESSAGE: InvalidRequest,
    Code.INVALID_REQUEST: InvalidRequest,
    Code.DUPLICATE_ID: InvalidRequest,
    Code.CONTEXT_OVERFLOW: ContextOverflow,
    Code.UNSUPPORTED: Unsupported,
    Code.NOT_FOUND: NotFound,
    Code.SESSION_CONFLICT: SessionConflict,
    Code.BUSY: Busy,
    Code.RELOAD_IN_PROGRESS: Busy,
    Code.PROTOCOL_MISMATCH: Refused,
    Code.HELLO_FIRST: Refused,
    Code.UNAUTHORIZED: Refused,
    Code.STOPPING: DaemonError,
    Code.SLOW_CLIENT: DaemonError,
    Code.EXPIRED: DaemonError,
    Code.TAKEN_OVER: DaemonError,
    Code.ENGINE_DIED: EngineFailed,
    Code.ENGINE_FAILED: EngineFailed,
    Code.PLUGIN_ERROR: EngineFailed,
    Code.MODEL_ERROR: ModelError,
    Code.OUT_OF_MEMORY: ModelError,
    Code.STORAGE_FAILED: DaemonError,
    Code.INTERNAL: DaemonError,
}


def from_wire(
    code: str,
    message: str,
    *,
    hint: str = "",
    retry_after_ms: int | None = None,
    plugin: str | None = None,
) -> GlmdError:
    """The exception for an `error` message; a code of a newer daemon becomes a GlmdError."""
    known = next((c for c in Code if c.value == code), None)
    cls = GlmdError if known is None else _CLASSES[known]
    return cls(message, hint=hint, code=known, retry_after_ms=retry_after_ms, plugin=plugin)
