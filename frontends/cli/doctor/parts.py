"""The parts of glmd: the package, the compiled engine, the model, the running daemon.

Engine and model are looked at in a child process: frontends do not import the daemon, and a broken
module could end the process that loads it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import glmd
from glmd import control
from glmd.errors import GlmdError
from glmd.frontends.cli.doctor.finding import Finding, State
from glmd.frontends.cli.terminal import file_size

CHILD_SECONDS = 60

_ENGINE = """
import json
from glmd.daemon.native import _engine
print(json.dumps({"features": _engine.cpu_features()}))
"""

_MODEL = """
import json, sys
from glmd.checkpoint.source import open_model
from glmd.daemon.config import resolve
from glmd.errors import GlmdError
from glmd.settings import DaemonSettings
try:
    config = resolve(DaemonSettings(name=sys.argv[1]))
    answer = {"path": str(config.model), "backend": config.backend}
    if config.backend == "cpu":
        model = open_model(config.model)
        answer["bytes"] = model.nbytes
        if config.tokenizer is None:
            model.tokenizer()
except GlmdError as error:
    answer = {"error": error.message, "hint": error.hint}
print(json.dumps(answer))
"""


def package() -> Finding:
    where = Path(glmd.__file__).parent
    return Finding("package", "ok", f"glmd {glmd.__version__} in {where}")


def engine() -> Finding:
    answer = _ask(_ENGINE)
    if "error" in answer:
        return Finding(
            "engine",
            "fail",
            f"The compiled engine does not load: {answer['error']}",
            "Install glmd again: pip install --force-reinstall glmd, or make build in a checkout.",
        )
    features = answer["features"]
    if not features:
        return Finding(
            "engine",
            "warn",
            "no SIMD kernels for this processor; the portable path serves",
            "It is right but slow.",
        )
    return Finding("engine", "ok", f"kernels for {', '.join(features)}")


def model(name: str) -> Finding:
    answer = _ask(_MODEL, name)
    if "error" in answer:
        return Finding("model", "fail", answer["error"], answer.get("hint", ""))
    size = f", {file_size(answer['bytes'])}" if "bytes" in answer else ""
    return Finding("model", "ok", f"{answer['path']} on {answer['backend']}{size}")


def daemon(name: str) -> Finding:
    from glmd.frontends.python_api import Client

    facts = control.running(name)
    option = "" if name == "default" else f" --name {name}"
    if facts is None:
        return Finding("daemon", "ok", "not running", f"Start it with `glmd start{option}`.")
    if facts.state == "failed":
        return Finding("daemon", "fail", f"pid {facts.pid} has failed: {facts.error}", facts.hint)
    try:
        with Client(name) as client:
            status = client.status()
    except GlmdError as error:
        return Finding(
            "daemon",
            "fail",
            f"pid {facts.pid}, and does not answer: {error.message}",
            f"`glmd restart{option}`; the log is {facts.log}.",
        )
    state: State = "ok" if status.state == "ready" else "warn"
    if status.server != glmd.__version__:
        return Finding(
            "daemon",
            "warn",
            f"pid {status.pid} runs glmd {status.server}",
            f"`glmd restart{option}` runs the installed {glmd.__version__}.",
        )
    return Finding(
        "daemon", state, f"pid {status.pid}, {status.state}, {status.model} on {status.backend}"
    )


def _ask(script: str, *arguments: str) -> dict[str, Any]:
    """What a script prints as JSON; `error` where it fails."""
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-c", script, *arguments],
            capture_output=True,
            text=True,
            timeout=CHILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {CHILD_SECONDS} s"}
    if child.returncode != 0:
        said = child.stderr.strip().splitlines()
        return {"error": said[-1] if said else f"it ended with {child.returncode}"}
    answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return answer
