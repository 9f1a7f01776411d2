"""`glmd ask` with a question and something on stdin."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from support.cli import GLMD, PATIENCE, run
from support.scripted_daemon import ScriptedDaemon, accepted, done, text

from glmd.wire.requests import AnyRequest

UNUSED = 'What is on stdin was not used; a word "-" stands for it: glmd ask "Sum up:" -\n'


def yes(daemon: ScriptedDaemon, request: AnyRequest) -> None:
    daemon.say(accepted(request), text(request, 0, "yes"), done(request, 1))


def test_a_pipe_that_holds_something_is_told(tmp_path: Path) -> None:
    with ScriptedDaemon(tmp_path, yes) as daemon:
        words = ("ask", "--endpoint", daemon.endpoint, "hi")
        assert run(*words, stdin="stuff\n") == (0, "yes\n", UNUSED)
        assert run(*words, "-", stdin="stuff\n") == (0, "yes\n", "")
        assert run(*words, stdin="") == (0, "yes\n", "")


def test_a_pipe_that_stays_open_and_a_file_are_left_alone(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    questions = tmp_path / "questions"
    questions.write_text("the rest of a loop's input\n")
    with (
        ScriptedDaemon(tmp_path, yes) as daemon,
        os.fdopen(reading) as silent,
        os.fdopen(writing, "w"),
        questions.open() as file,
    ):
        for stdin in (silent, file, None):
            told = subprocess.run(
                [*GLMD, "ask", "--endpoint", daemon.endpoint, "hi"],
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert (told.returncode, told.stdout, told.stderr) == (0, "yes\n", "")
