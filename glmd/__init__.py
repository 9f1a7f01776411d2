"""glmd: one daemon, one loaded ChatGLM3, many frontends.

A program talks to the running daemon with

    with glmd.Client() as client:
        print(client.chat("你好").text)

and a plugin marks its hooks with `@glmd.hookimpl`, its samplers are a `glmd.Sampler`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmd import errors
    from glmd.chat import Message, Tool, ToolCall
    from glmd.frontends.python_api import (
        AsyncClient,
        AsyncStream,
        ChatResult,
        Client,
        CompleteResult,
        Delta,
        Stream,
        TextDelta,
        Timeouts,
        ToolCallDelta,
        ToolResultDelta,
    )
    from glmd.hookspecs import hookimpl
    from glmd.sampler import Sampler
    from glmd.wire.sampling import Stage

    __version__: str

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "ChatResult",
    "Client",
    "CompleteResult",
    "Delta",
    "Message",
    "Sampler",
    "Stage",
    "Stream",
    "TextDelta",
    "Timeouts",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolResultDelta",
    "__version__",
    "errors",
    "hookimpl",
]

_HOMES = {  # of the others: glmd.frontends.python_api
    "Message": "glmd.chat",
    "Sampler": "glmd.sampler",
    "Stage": "glmd.wire.sampling",
    "Tool": "glmd.chat",
    "ToolCall": "glmd.chat",
    "hookimpl": "glmd.hookspecs",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that the daemon's children, which import glmd too, never load a frontend, and so that
    # `glmd --version` does not wait for what it does not use.
    if name == "__version__":
        from importlib.metadata import version

        return version("glmd")
    if name == "errors":
        return import_module("glmd.errors")
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, "glmd.frontends.python_api")), name)
    raise AttributeError(f"module 'glmd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
