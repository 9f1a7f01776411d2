"""What the core and the plugin host say to each other, framed as in daemon/engine/transport.py."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from glmd.discovery import Source


class HostCommand(msgspec.Struct, tag_field="op", frozen=True, omit_defaults=True):
    """Base of what the core sends."""


class Check(HostCommand, tag="check", frozen=True):
    """Import a plugin, look it over, try its samplers, forget it again."""

    source: Source


class Adopt(HostCommand, tag="adopt", frozen=True):
    """Import a plugin and keep it: its tools can be run, its hooks are called."""

    number: int
    source: Source


class Dismiss(HostCommand, tag="dismiss", frozen=True):
    """Another version has taken this one's place, or none."""

    number: int


class RunTool(HostCommand, tag="run_tool", frozen=True):
    """`id` is the core's own number for this run."""

    id: int
    number: int
    tool: str
    arguments: dict[str, Any]


class Started(HostCommand, tag="started", frozen=True):
    """The daemon serves."""


class ModelChanged(HostCommand, tag="model_changed", frozen=True):
    old: str
    new: str


class Answer(HostCommand, tag="answer", frozen=True):
    """To an Asked. `error` and `hint`: why it was not done, "" where it was."""

    id: int
    data: dict[str, Any] = {}
    error: str = ""
    hint: str = ""


class Fact(HostCommand, tag="fact", frozen=True):
    """All facts of a topic that somebody listens to."""

    topic: str
    data: dict[str, Any]


class Leave(HostCommand, tag="leave", frozen=True):
    """Tell the plugins that the daemon stops, and exit."""


class HostEvent(msgspec.Struct, tag_field="op", frozen=True, omit_defaults=True):
    """Base of what the plugin host sends."""


class SamplerReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """`params`: JSON schema of Params. `untried`: why it was not run, "" where it was. The rest as
    in glmd.sampler."""

    name: str
    params: dict[str, Any]
    untried: str = ""
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


class Adopted(HostEvent, tag="adopted", frozen=True):
    """`error`: why the plugin is not here after all."""

    number: int
    error: str = ""


class ToolDone(HostEvent, tag="tool_done", frozen=True):
    """`text`: what the model is to be told, which is the error where there was one (`failed`)."""

    id: int
    text: str
    failed: bool = False


class HookFailed(HostEvent, tag="hook_failed", frozen=True):
    """A plugin's hook has raised, or not returned in its time."""

    number: int
    message: str


class Asked(HostEvent, tag="asked", frozen=True):
    """A plugin asks the daemon for its status, or to load `model` (None: the same one again)."""

    id: int
    what: Literal["status", "reload"]
    model: str | None = None


class Listening(HostEvent, tag="listening", frozen=True):
    """Topics that some plugin listens to."""

    topics: list[str]


AnyHostCommand = Check | Adopt | Dismiss | RunTool | Started | ModelChanged | Answer | Fact | Leave
AnyHostEvent = Checked | Adopted | ToolDone | HookFailed | Asked | Listening
