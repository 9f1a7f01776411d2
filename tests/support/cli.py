"""The `glmd` command as a process of its own, as people and scripts run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pexpect

GLMD = [sys.executable, "-I", "-m", "glmd"]
PATIENCE = 40.0  # seconds, for a machine that is busy with other things

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run(
    *words: str, stdin: str | bytes = b"", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, without a terminal."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [*GLMD, *words],
        input=given,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, **environment},
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def facts(*words: str) -> Any:
    """What a command with --json prints."""
    done = run(*words, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done
    return json.loads(done.stdout)


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

    def __init__(self, *words: str, **environment: str) -> None:
        # The terminal of a test does not answer when it is asked where its cursor is.
        settings = {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm", **environment}
        self.child = pexpect.spawn(
            GLMD[0],
            [*GLMD[1:], *words],
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
