"""glmd: one daemon, one loaded ChatGLM3, many frontends.

A program talks to the running daemon with

    with glmd.Client() as client:
        print(client.chat("你好").text)

and a plugin marks its hooks with `@glmd.hookimpl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmd.frontends.python_api import AsyncClient, Client
    from glmd.hookspecs import hookimpl

    __version__: str

__all__ = ["AsyncClient", "Client", "__version__", "hookimpl"]


def __getattr__(name: str) -> Any:
    # Lazy, so that the daemon's children, which import glmd too, never load a frontend, and so that
    # `glmd --version` does not wait for what it does not use.
    if name == "__version__":
        from importlib.metadata import version

        return version("glmd")
    if name == "hookimpl":
        from glmd.hookspecs import hookimpl

        return hookimpl
    if name in {"Client", "AsyncClient"}:
        from glmd.frontends import python_api

        return getattr(python_api, name)
    raise AttributeError(f"module 'glmd' has no attribute {name!r}")
