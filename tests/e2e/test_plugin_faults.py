"""A plugin misbehaves in a running daemon: what the clients see."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from support.daemons import Launch
from support.engine_processes import until
from support.peer import Peer, question
from support.plugins import Watcher, listed, only, reload, sampler, save

from glmd import control
from glmd.facts import DaemonFacts
from glmd.wire.replies import Delta, Done, Failure, Text
from glmd.wire.sampling import Sampling, Stage

TROUBLE = sampler(
    "trouble",
    "if len(history) - self.ctx.prompt_length >= self.params.at:\n    exec(self.params.what)",
    params="at: int = 1000\nwhat: str = 'pass'",
)
LONG = {"max_tokens": 120, "ignore_eos": True}


def asking(request_id: str, what: str, at: int = 3) -> object:
    stages = [Stage("trouble", {"what": what, "at": at})]
    return question(request_id, sampling=Sampling(stages=stages, seed=1), **LONG)


def tokens(peer: Peer, request_id: str) -> list[int]:
    """Those of an answer that nothing else is heard during."""
    told = peer.until_terminal(request_id, 40)
    assert isinstance(told[-1], Done), told[-1]
    deltas = [reply.content for reply in told if isinstance(reply, Delta)]
    return [token for content in deltas if isinstance(content, Text) for token in content.tokens]


def test_one_crashes_the_engine_and_a_stream_beside_it_goes_on(daemon: DaemonFacts) -> None:
    save("trouble", TROUBLE)
    seeded = {"sampling": Sampling(seed=7), "credit": 1000, **LONG}
    with Watcher(daemon) as watcher, Peer(daemon.endpoints[0]) as peer:
        watcher.loaded("trouble")
        peer.send(question("alone", **seeded))
        undisturbed = tokens(peer, "alone")
        peer.send(question("beside", **seeded))
        with Peer(daemon.endpoints[0]) as other:
            other.send(asking("bad", "import os; os._exit(9)"))
            failure = other.until_terminal("bad", 40)[-1]
            assert isinstance(failure, Failure)
            assert (failure.code, failure.plugin) == ("plugin_error", "trouble")
            assert "exited with status 9 in code of the plugin trouble" in failure.message
            assert "glmd plugins info trouble" in failure.hint
        assert tokens(peer, "beside") == undisturbed
        assert len(undisturbed) == 120
        told = watcher.until("trouble", lambda plugin: plugin.state == "quarantined")
        assert "exited with status 9" in told.error

        # Refused until its file changes.
        peer.send(asking("again", "pass"))
        failure = peer.until_terminal("again")[-1]
        assert isinstance(failure, Failure)
        assert (failure.code, failure.plugin) == ("plugin_error", "trouble")
        save("trouble", TROUBLE + "# mended\n")
        watcher.loaded("trouble")
        peer.send(asking("mended", "pass"))
        assert len(tokens(peer, "mended")) == 120
        assert peer.status().model_loads == 2


def test_an_answer_in_flight_ends_on_the_version_it_began_with(daemon: DaemonFacts) -> None:
    # Slow enough to be in flight still when the second one is there.
    slow = "import time\ntime.sleep(0.01)\n"
    first, second = sampler("one", slow + only(40)), sampler("one", only(50))
    save("one", first)
    fields = {"sampling": Sampling(stages=[Stage("one")]), "ignore_eos": True, "credit": 5000}
    with Watcher(daemon) as watcher, Peer(daemon.endpoints[0]) as peer:
        watcher.loaded("one")
        peer.send(question("long", max_tokens=900, **fields))
        with Peer(daemon.endpoints[0]) as other:
            until(other.status, lambda status: status.running == 1)
        save("one", second)
        watcher.loaded("one", sha256(second.encode()).hexdigest())
        with Peer(daemon.endpoints[0]) as other:
            assert other.status().running == 1
            other.send(question("next", max_tokens=3, **fields))
            assert tokens(other, "next") == [50] * 3
        assert set(tokens(peer, "long")) == {40}


def test_reload_by_name_ends_a_quarantine(daemon: DaemonFacts) -> None:
    save("trouble", TROUBLE)
    with Watcher(daemon) as watcher, Peer(daemon.endpoints[0]) as peer:
        watcher.loaded("trouble")
        for number in range(3):
            peer.send(asking(str(number), "raise ValueError(7)"))
            assert isinstance(peer.until_terminal(str(number))[-1], Failure)
        watcher.until("trouble", lambda plugin: plugin.state == "quarantined")
        reload(daemon)  # the same file is not tried again
        assert {p.name: p.state for p in listed(daemon).plugins}["trouble"] == "quarantined"
        told = {plugin.name: plugin for plugin in reload(daemon, "trouble").plugins}
        assert (told["trouble"].state, told["trouble"].error) == ("loaded", "")


def test_stages_are_listed_built_in_or_not(shared_daemon: DaemonFacts) -> None:
    # A start does not wait for plugins for ever, a reload does.
    stages = {stage.name: stage for stage in reload(shared_daemon).stages}
    assert stages["top_k"].plugin == ""
    assert stages["top_k"].params["properties"]["k"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 1 << 20,
        "default": 50,
    }
    assert stages["mirostat"].plugin == "mirostat"
    assert stages["mirostat"].replayable


NOTES = """
import glmd

def note(text):
    with open({log!r}, "a") as file:
        file.write(text + "\\n")

@glmd.hookimpl
def glmd_daemon_started(daemon):
    note("started " + daemon.status()["state"])

@glmd.hookimpl
def glmd_model_changed(old, new):
    note(f"model {{old}} {{new}}")

@glmd.hookimpl
def glmd_daemon_stopping():
    note("stopping")
"""


def test_hooks_follow_the_daemons_life(launch: Launch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    save("notes", NOTES.format(log=str(log)))
    daemon = launch()
    until(log.read_text, lambda text: text.count("\n") == 2)
    control.stop_daemon("default")
    lines = log.read_text().splitlines()
    assert sorted(lines[:2]) == [f"model  {daemon.model}", "started ready"]
    assert lines[2:] == ["stopping"]
