"""Processes that are no engine: whatever they do on the socket pair, the pool outlives it."""

from __future__ import annotations

import logging
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
from support.engine import prompt
from support.pool import ask, job, running_pool

from glmd.daemon.pool import Timeouts, child
from glmd.errors import Code, EngineFailed

PREAMBLE = """
    import os, socket, sys, time
    core = socket.socket(fileno=int(sys.argv[2]))
    core.recv(65536)
"""


@pytest.fixture
def impostor(monkeypatch: pytest.MonkeyPatch):
    """Run some other program where the pool runs its engine."""

    def install(program: str) -> None:
        code = textwrap.dedent(PREAMBLE) + textwrap.dedent(program)
        monkeypatch.setattr(child, "COMMAND", [sys.executable, "-I", "-c", code])

    return install


async def fails_in_the_end(timeouts: Timeouts | None = None) -> str:
    """The pool gives up after three of them, with nothing left behind; why it did."""
    me = psutil.Process()
    before = me.num_fds(), len(me.children())
    async with running_pool(Path("unused"), wait=False, timeouts=timeouts) as pool:
        waiting = ask(pool, job(prompt(5)))
        with pytest.raises(EngineFailed) as caught:
            await pool.ready()
        assert caught.value.code is Code.ENGINE_DIED
        with pytest.raises(EngineFailed):
            await waiting.end()
    assert (me.num_fds(), len(me.children())) == before
    return caught.value.message


@pytest.mark.parametrize(
    "program",
    [
        r"core.sendall(b'\0\0\0\1\xc1'); time.sleep(60)",
        r"core.sendall(b'\xff' * 100_000); time.sleep(60)",
        "import random; core.sendall(random.Random(0).randbytes(1 << 20)); time.sleep(60)",
        "core.close(); time.sleep(60)",
    ],
    ids=["no message", "too long", "noise", "silence"],
)
async def test_one_that_does_not_speak_the_language_is_ended(impostor, program: str) -> None:
    impostor(program)
    assert "SIGKILL" in await fails_in_the_end()


async def test_one_that_never_gets_done_with_loading(impostor) -> None:
    impostor("time.sleep(60)")
    assert "SIGKILL" in await fails_in_the_end(Timeouts(load=0.2))


async def test_one_that_leaves_at_once(impostor) -> None:
    impostor("os._exit(7)")
    assert "status 7" in await fails_in_the_end()


async def test_one_whose_own_child_holds_on_to_the_socket(impostor) -> None:
    """The stream never ends, the process does; that is what counts."""
    impostor(
        """
        if os.fork() == 0:
            time.sleep(1.5)
            os._exit(0)
        os._exit(9)
        """
    )
    assert "status 9" in await fails_in_the_end()


async def test_a_command_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "COMMAND", ["/nonexistent/python"])
    assert "could not be started" in await fails_in_the_end()


async def test_endless_lines_are_logged_in_pieces(
    impostor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "glmd.child")
    impostor("print('x' * 1_000_000, end=''); sys.stdout.flush(); os._exit(1)")
    await fails_in_the_end()
    lines = [record.getMessage() for record in caplog.records if record.name == "glmd.child"]
    assert sum(line.count("x") for line in lines) == 3_000_000
    assert max(map(len, lines)) < child.MAX_LINE + (1 << 17)
