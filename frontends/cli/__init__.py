"""The `glmd` command. One file a command in commands/, each imported when it is used."""

from __future__ import annotations

from glmd.frontends.cli.app import main

__all__ = ["main"]
