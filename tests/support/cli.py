"""The `glmd` command as a process of its own, as people and scripts run it."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NamedTuple
from unittest import mock

import pexpect

from glmd.frontends.cli import app

PYTHON = [sys.executable, "-I"]
GLMD = [*PYTHON, "-m", "glmd"]
PATIENCE = 40.0  # seconds, for a machine that is busy with other things

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Told(NamedTuple):
    """What a command that has ended left behind."""

    returncode: int
    stdout: str
    stderr: str


def run(*words: str, stdin: str = "", patience: float = PATIENCE, **environment: str) -> Told:
    """Run it to its end as a process, without a terminal; it has `patience` seconds."""
    done = subprocess.run(
        [*GLMD, *words],
        input=stdin.encode(errors="surrogateescape"),
        capture_output=True,
        timeout=patience,
        check=False,
        env={**os.environ, **environment},
    )
    return Told(done.returncode, done.stdout.decode(), done.stderr.decode())


def call(*words: str, stdin: str = "") -> Told:
    """The same within this process, which is quicker."""
    out, err = io.StringIO(), io.StringIO()
    given = io.TextIOWrapper(io.BytesIO(stdin.encode(errors="surrogateescape")))
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch("sys.stdin", given),
        mock.patch("sys.argv", ["glmd", *words]),
    ):
        code = app.run()
    return Told(code, out.getvalue(), err.getvalue())


def facts(*words: str) -> Any:
    """What a command with --json prints."""
    told = call(*words, "--json")
    assert (told.returncode, told.stderr) == (0, ""), told
    return json.loads(told.stdout)


@contextmanager
def beside(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run it beside the test."""
    with subprocess.Popen(
        [*GLMD, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """It on a terminal: `type` as a person does, `expect` what is shown."""

    def __init__(self, *words: str, program: list[str] | None = None, **environment: str) -> None:
        # The terminal of a test does not answer when it is asked where its cursor is.
        settings = {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm", **environment}
        self.child = pexpect.spawn(
            PYTHON[0],
            [*(program or GLMD)[1:], *words],
            env={**os.environ, **settings},
            encoding="utf-8",
            timeout=PATIENCE,
            dimensions=(40, 160),
        )
        self.child.delaybeforesend = None

    def type(self, keys: str) -> None:
        self.child.send(keys)

    def expect(self, pattern: str) -> str:
        """Wait for it; what was shown before it, without colours and cursor movements."""
        self.child.expect(pattern)
        return _ESCAPE.sub("", self.child.before or "")

    def end(self) -> int:
        """Wait for its end; the exit code."""
        self.child.expect(pexpect.EOF)
        self.child.close()
        assert self.child.exitstatus is not None, f"ended by signal {self.child.signalstatus}"
        return int(self.child.exitstatus)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.child.close(force=True)


PROMPT = r"\x1b\[\?2004h"  # pasted text is bracketed from here on: the prompt waits for input
ENTER = "\r"
CTRL_C = "\x03"
CTRL_D = "\x04"
ALT_ENTER = "\x1b\r"
