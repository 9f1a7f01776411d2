"""Programs talk to the daemon with `glmd.Client` and `glmd.AsyncClient`. docs/python.md shows how.

The shared core does no waiting: `_connection` (one connection, frames in and out), `_answer` (one
answer), `_options` (arguments → requests). `_channel` and `_link` carry it over a socket and a
thread; `_client` and `_async_client` are two faces of that.
"""

from glmd.chat import Message, Tool, ToolCall
from glmd.frontends.python_api._async_client import (
    AsyncClient,
    AsyncSessions,
    AsyncStream,
    AsyncSubscription,
)
from glmd.frontends.python_api._client import Client, Sessions, Stream, Subscription
from glmd.frontends.python_api._options import (
    ChatOptions,
    CompleteOptions,
    GenerationOptions,
    SamplingOptions,
)
from glmd.frontends.python_api._results import (
    ChatResult,
    Choice,
    CompleteResult,
    Delta,
    TextDelta,
    ToolCallDelta,
    ToolResultDelta,
)
from glmd.frontends.python_api._timeouts import Timeouts
from glmd.wire.sampling import Stage

__all__ = [
    "AsyncClient",
    "AsyncSessions",
    "AsyncStream",
    "AsyncSubscription",
    "ChatOptions",
    "ChatResult",
    "Choice",
    "Client",
    "CompleteOptions",
    "CompleteResult",
    "Delta",
    "GenerationOptions",
    "Message",
    "SamplingOptions",
    "Sessions",
    "Stage",
    "Stream",
    "Subscription",
    "TextDelta",
    "Timeouts",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolResultDelta",
]
