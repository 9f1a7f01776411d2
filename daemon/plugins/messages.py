"""What the core and the plugin host say to each other, framed as in daemon/engine/transport.py."""

from __future__ import annotations

from typing import Any

import msgspec

from glmd.discovery import Source


class HostCommand(msgspec.Struct, tag_field="op", frozen=True, omit_defaults=True):
    """Base of what the core sends."""


class Check(HostCommand, tag="check", frozen=True):
    """Import a plugin, look it over, try its samplers, forget it again."""

    source: Source


class HostEvent(msgspec.Struct, tag_field="op", frozen=True, omit_defaults=True):
    """Base of what the plugin host sends."""


class SamplerReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """`params`: JSON schema of Params. The rest as in glmd.sampler."""

    name: str
    params: dict[str, Any]
    replayable: bool = True
    place: str = "first"
    replaces: list[str] = []
    doc: str = ""


class ToolReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """`params`: JSON schema of Params. `timeout`: seconds."""

    name: str
    description: str
    params: dict[str, Any]
    timeout: float


class Checked(HostEvent, tag="checked", frozen=True):
    """What a plugin is. `error`: why it cannot be used, "" where it can. `seconds` that importing
    it took."""

    error: str = ""
    version: str = ""
    hooks: list[str] = []
    samplers: list[SamplerReport] = []
    tools: list[ToolReport] = []
    seconds: float = 0.0


AnyHostCommand = Check
AnyHostEvent = Checked
