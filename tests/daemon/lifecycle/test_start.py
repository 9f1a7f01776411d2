"""Starting a daemon: exactly one, and all of it or nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.checkpoints import NANO, Shape, write_large_checkpoint
from support.daemons import Homes, Launch
from support.peer import Peer, question

from glmd import control, facts, lock, paths
from glmd.errors import ModelError, StartFailed
from glmd.settings import DaemonSettings
from glmd.wire.replies import AnyReply, Done, Progress

QUICK = DaemonSettings(threads=1)


def test_start_returns_when_it_serves(homes: Homes) -> None:
    told: list[tuple[int, int]] = []
    started = control.start_daemon(QUICK, lambda done, total: told.append((done, total)))
    assert not started.already
    assert started.facts.state == "ready"
    assert facts.read("default") == started.facts == control.running("default")
    with Peer(started.facts.endpoints[0]) as peer:
        status = peer.status()
        assert (status.state, status.pid) == ("ready", started.facts.pid)
        assert (status.model, status.model_loads) == ("glm3-nano", 1)
    assert told == sorted(told)


def test_a_second_start_finds_the_first(homes: Homes) -> None:
    first = control.start_daemon(QUICK)
    second = control.start_daemon(QUICK)
    assert second.already
    assert second.facts == first.facts


def test_daemons_of_different_names_live_side_by_side(launch: Launch) -> None:
    one, two = launch(name="one"), launch(name="two")
    with Peer(one.endpoints[0]) as first, Peer(two.endpoints[0]) as second:
        assert first.status().name == "one"
        assert second.status().name == "two"


@pytest.mark.timeout(180)
def test_a_hundred_starts_at_once_give_one_daemon(homes: Homes) -> None:
    with ThreadPoolExecutor(100) as callers:
        starts = list(callers.map(lambda _: control.start_daemon(QUICK), range(100)))
    assert len({start.facts.pid for start in starts}) == 1
    assert [start.already for start in starts].count(False) == 1
    cores = [p for p in homes.processes() if "glmd.daemon" in p.cmdline()]
    assert [core.pid for core in cores] == [starts[0].facts.pid]


def test_starts_from_several_processes_give_one_daemon(homes: Homes) -> None:
    script = (
        "from glmd import control; from glmd.settings import DaemonSettings;"
        "print(control.start_daemon(DaemonSettings(threads=1)).facts.pid)"
    )
    starters = [
        subprocess.Popen([sys.executable, "-I", "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    pids = {starter.communicate(timeout=50)[0] for starter in starters}
    assert len(pids) == 1
    assert {starter.returncode for starter in starters} == {0}


def test_a_model_that_cannot_be_loaded(homes: Homes) -> None:
    with pytest.raises(ModelError, match=r"/nowhere/model .*not there"):
        control.start_daemon(DaemonSettings(model="/nowhere/model"))
    assert control.running("default") is None
    assert homes.processes() == []


def test_others_who_wait_hear_why_it_failed(homes: Homes) -> None:
    def start(_: int) -> str:
        try:
            control.start_daemon(DaemonSettings(model="/nowhere/model"))
        except ModelError as error:
            return error.message
        return "started"

    with ThreadPoolExecutor(10) as callers:
        told = set(callers.map(start, range(10)))
    assert len(told) == 1
    assert "/nowhere/model" in told.pop()


def test_a_relative_path_is_taken_from_where_start_was_called(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(NANO.parent)
    assert homes.start(model=NANO.name).model == str(NANO)


def test_a_dead_engine_at_the_start_is_told(
    homes: Homes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint whose weights are cut short behind a header that is whole."""
    model = tmp_path / "cut"
    model.mkdir()
    for file in NANO.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (weights,) = model.glob("*.safetensors")
    os.truncate(weights, weights.stat().st_size // 2)
    with pytest.raises(ModelError, match=weights.name):
        homes.start(model=str(model))
    assert homes.processes() == []


def test_after_kill_9_the_next_start_works(homes: Homes) -> None:
    first = homes.start()
    os.kill(first.pid, signal.SIGKILL)
    while first.alive:
        time.sleep(0.01)
    assert paths.socket_file().exists()
    assert control.running("default") is None
    second = homes.start()
    assert second.pid != first.pid
    word = f"WARNING glmd.daemon.core: The previous daemon (pid {first.pid}) ended without a word."
    assert word in paths.log_file().read_text()
    assert second.boot_id != first.boot_id
    with Peer(second.endpoints[0]) as peer:
        assert peer.status().state == "ready"


def test_a_starter_that_is_killed_takes_the_unfinished_daemon_with_it(homes: Homes) -> None:
    script = (
        "from glmd import control; from glmd.settings import DaemonSettings;"
        "control.start_daemon(DaemonSettings(threads=1))"
    )
    starter = subprocess.Popen([sys.executable, "-I", "-c", script])
    while (held := lock.holder("default")) is None:
        time.sleep(0.001)
    starter.kill()
    starter.wait()
    deadline = time.monotonic() + 20
    while held.alive and time.monotonic() < deadline:
        time.sleep(0.02)
    # Either it was ready in time and serves, or nothing of it is left.
    found = control.running("default")
    assert found is None or found.state == "ready"


def test_an_interrupt_while_it_loads_leaves_nothing(homes: Homes) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        control.start_daemon(QUICK, interrupt)
    assert control.running("default") is None
    assert homes.processes() == []
    homes.start()


def test_a_start_waits_for_one_that_is_stopping(homes: Homes) -> None:
    first = homes.start()
    stopper = threading.Thread(target=control.stop_daemon, args=("default",))
    stopper.start()
    while (found := facts.read("default")) is not None and found.state == "ready":
        time.sleep(0.001)
    second = control.start_daemon(QUICK)
    stopper.join()
    assert not second.already
    assert second.facts.pid != first.pid
    assert second.facts.alive


def test_while_a_larger_model_loads(homes: Homes, tmp_path: Path) -> None:
    """The starter sees how far it is; a client is served status, and its question waits."""
    shape = Shape(layers=12, hidden=512, heads=8, head_dim=64, ffn=1376, vocab=8192)
    write_large_checkpoint(tmp_path, shape)
    settings = DaemonSettings(model=str(tmp_path), threads=1)
    told: list[tuple[int, int]] = []
    waiting: list[AnyReply] = []

    def on_progress(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 1:
            asker.start()

    def ask() -> None:
        found = control.running("default")
        assert found is not None
        with Peer(found.endpoints[0]) as peer:
            assert peer.status().state == "loading"
            peer.send(question("1", max_tokens=1))
            waiting.extend(peer.until_terminal("1"))

    asker = threading.Thread(target=ask)
    control.start_daemon(settings, on_progress)
    asker.join()
    assert told == sorted(told)
    assert any(0 < done < total for done, total in told)
    assert isinstance(waiting[0], Progress)
    assert waiting[0].phase == "loading"
    assert isinstance(waiting[-1], Done)


def test_what_a_daemon_prints_when_it_dies_is_shown(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = "import os, sys; print('no room', file=sys.stderr); sys.stderr.flush(); os.abort()"
    monkeypatch.setattr(control, "COMMAND", (sys.executable, "-I", "-c", dying))
    with pytest.raises(StartFailed, match="no room"):
        control.start_daemon(QUICK)


def test_a_daemon_that_dies_while_loading_is_not_taken_for_one_that_runs(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed loses its descriptors before it is gone, so for a moment the pipe is
    at its end and the facts still speak of a live daemon that loads."""
    ending = """
import os, sys, time
from glmd import facts, process
from glmd.facts import DaemonFacts

if os.fork():
    os._exit(0)
pid = os.getpid()
facts.write(
    DaemonFacts(
        name="default", pid=pid, started=process.start_ticks(pid), boot_id="", server="",
        protocol=(1, 1), state="loading", endpoints=[], model="", backend="cpu", log="",
    )
)
os.close(int(sys.argv[-1].partition("=")[2]))
time.sleep(1)
"""
    monkeypatch.setattr(control, "COMMAND", (sys.executable, "-I", "-c", ending))
    with pytest.raises(StartFailed, match="died while starting"):
        control.start_daemon(QUICK)
    assert homes.processes() == []
