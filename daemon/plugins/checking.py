"""Looking one plugin over. Runs in the plugin host: it imports the plugin."""

from __future__ import annotations

import inspect
import time
import traceback

import msgspec

from glmd.daemon.plugins.messages import Checked, SamplerReport, ToolReport
from glmd.daemon.plugins.smoke import smoke_run
from glmd.discovery import Source
from glmd.errors import GlmdError
from glmd.loading import Loaded, load
from glmd.sampler import Sampler
from glmd.tool import RunnableTool


def check(source: Source) -> Checked:
    """What the plugin is, or why it cannot be used. Leaves no module of a file behind."""
    start = time.perf_counter()
    loaded: Loaded | None = None
    try:
        loaded = load(source)
        seconds = time.perf_counter() - start
        return Checked(
            version=loaded.version,
            hooks=loaded.hooks,
            samplers=[_look_over(sampler, source) for sampler in loaded.samplers.values()],
            tools=[describe_tool(tool) for tool in loaded.tools.values()],
            seconds=seconds,
        )
    except BaseException as error:
        return Checked(error=reason(error, source.path))
    finally:
        if loaded is not None:
            loaded.unload()


def reason(error: BaseException, path: str) -> str:
    """A plugin's exception in a sentence, with the line of its file that raised it."""
    if isinstance(error, GlmdError):
        return error.message
    text = f"{type(error).__name__}: {error}".rstrip(": ").rstrip(".")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    return f"{text} (line {frames[-1].lineno})." if frames else f"{text}."


def _look_over(sampler: Sampler, source: Source) -> SamplerReport:
    schema, untried = msgspec.json.schema(sampler.Params), ""
    if source.origin != "built-in":  # those were tried when glmd was made
        untried = smoke_run(sampler, schema, source.name)
    return SamplerReport(
        name=sampler.name,
        params=schema,
        untried=untried,
        replayable=bool(getattr(sampler, "replayable", True)),
        place=getattr(sampler, "place", "first"),
        replaces=sorted(getattr(sampler, "replaces", ())),
        doc=_first_line(sampler),
    )


def describe_tool(tool: RunnableTool) -> ToolReport:
    return ToolReport(
        name=tool.name,
        description=tool.description,
        params=msgspec.json.schema(tool.Params),
        timeout=float(getattr(tool, "timeout", RunnableTool.timeout)),
    )


def _first_line(sampler: Sampler) -> str:
    own = type(sampler).__doc__
    return inspect.cleandoc(own).partition("\n")[0] if own else ""
