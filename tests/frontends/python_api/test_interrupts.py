"""Ctrl-C while a program reads an answer."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from support.scripted_daemon import ScriptedDaemon, accepted, done, text

from glmd.frontends.python_api import Client
from glmd.wire.requests import AnyRequest, Chat

READING = ("_client.py", "_base.py", "_answer.py")


@contextmanager
def interrupted_after(instructions: int) -> Iterator[None]:
    """KeyboardInterrupt before one instruction of the code that reads an answer: where a signal
    may strike."""
    left = itertools.count(instructions, -1)

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.endswith(READING):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and next(left) == 0:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def test_wherever_ctrl_c_strikes_no_piece_is_lost(tmp_path: Path) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Chat):
            daemon.say(accepted(request), text(request, 0, "so "), text(request, 1, "it goes"))
            daemon.say(done(request, 2))

    with ScriptedDaemon(tmp_path, script) as daemon, Client(endpoint=daemon.endpoint) as client:
        struck = 0
        for instructions in itertools.count():
            stream = client.stream("hi")
            try:
                with interrupted_after(instructions):
                    for _ in stream:
                        pass
            except KeyboardInterrupt:
                struck += 1
            assert stream.result().text == "so it goes", f"after {instructions} instructions"
            if struck <= instructions:  # the answer was read to its end
                break
    assert struck > 100
