"""An engine child never outlives the core, whatever it is doing."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.checkpoints import Shape, write_checkpoint
from support.engine import EngineChild, prompt, submit

from glmd.daemon.engine.messages import Prefilled

# Big enough that one chunk of a prompt takes a good part of a second.
SLOW = Shape(layers=4, hidden=1024, heads=8, head_dim=128, ffn=4096, vocab=512, seq_length=4096)


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("slow"), SLOW, tokenizer=None)


@pytest.fixture
def child(slow_model: Path) -> Iterator[EngineChild]:
    child = EngineChild(slow_model, slots=2)
    try:
        yield child
    finally:
        child.close()


def test_the_end_of_the_stream_ends_it_while_idle(child: EngineChild) -> None:
    child.ready()
    child.socket.close()
    assert child.ended_within(2)


def test_the_end_of_the_stream_ends_it_while_loading(child: EngineChild) -> None:
    child.receive()
    child.socket.close()
    assert child.ended_within(2)


def test_the_end_of_the_stream_ends_it_in_the_middle_of_a_forward(child: EngineChild) -> None:
    child.ready()
    child.send(submit(1, prompt(4000), 5))
    child.until(Prefilled)
    child.socket.close()
    assert child.ended_within(2)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signals_to_the_whole_group_are_for_the_core_to_act_on(
    child: EngineChild, name: str
) -> None:
    child.ready()
    child.process.send_signal(signal.Signals[name])
    assert len(child.run(submit(1, prompt(10), 3))[1, 0]) == 3


# A core in its own process: it starts a child, says its pid, and keeps it busy.
CORE = """
    import socket, subprocess, sys
    from glmd.daemon.engine import transport
    from glmd.daemon.engine.messages import Load, Prefilled, Ready, Submit
    from glmd.daemon.plugins.breadcrumb import Breadcrumb

    ours, theirs = socket.socketpair()
    fds = [theirs.fileno(), Breadcrumb.create().fd]
    child = subprocess.Popen(
        [sys.executable, "-I", "-m", "glmd.daemon.engine", *map(str, fds)],
        pass_fds=fds, start_new_session=True,
    )
    ours.sendall(transport.encode(Load(sys.argv[1], "cpu", "f16", slots=1, threads=1)))
    decoder = transport.events()
    while data := ours.recv(65536):
        for event in decoder.feed(data):
            if isinstance(event, Ready):
                ours.sendall(transport.encode(Submit(
                    id=1, prompt=[5] * 4000, choices=[(0, [])], stages=[], seed=0,
                    stop_ids=[], max_tokens=5)))
            elif isinstance(event, Prefilled) and event.done < 500:
                print(child.pid, flush=True)
"""


def test_a_killed_core_takes_its_child_along(slow_model: Path) -> None:
    core = subprocess.Popen(
        [sys.executable, "-I", "-c", textwrap.dedent(CORE), str(slow_model)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert core.stdout is not None
    engine = psutil.Process(int(core.stdout.readline()))
    assert "glmd.daemon.engine" in engine.cmdline()
    core.kill()
    engine.wait(2)
    assert not engine.is_running()
    core.stdout.close()
    core.wait()


def test_a_child_that_hears_nonsense_ends(slow_model: Path, capfd: pytest.CaptureFixture) -> None:
    child = EngineChild(slow_model, slots=1)
    try:
        child.ready()
        child.socket.sendall(b"\0\0\0\1\xc1")
        assert child.ended_within(5)
        assert child.process.wait() == 1
        assert "FramingError" in capfd.readouterr().err
    finally:
        child.close()
