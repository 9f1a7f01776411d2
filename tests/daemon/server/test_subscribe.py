"""Facts for those who asked for them."""

from __future__ import annotations

import os
import signal

from support.peer import Peer, endless
from support.plugins import Watcher
from support.served import Served

from glmd.facts import DaemonFacts
from glmd.wire.replies import Accepted, Done, Event, Ok
from glmd.wire.requests import Cancel, Subscribe


def test_the_present_state_comes_first(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer:
        peer.ask(Subscribe(id="s", topics=["model", "replicas", "queue", "plugins"]), Ok)
        events = {event.topic: event.data for event in (peer.expect(Event) for _ in range(4))}
        assert events["model"]["state"] == "ready"
        assert events["model"]["name"] == "glm3-nano"
        assert events["replicas"]["replicas"][0]["state"] == "ready"
        assert events["queue"] == {"queued": 0, "running": 0}
        assert events.keys() == {"model", "replicas", "queue", "plugins"}
    with Watcher(shared_daemon) as watcher:  # a start does not wait for plugins for ever
        assert watcher.loaded("mirostat").samplers == ["mirostat"]


def test_the_queue_is_told_and_tokens_are_not(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as watcher, Peer(shared_daemon.endpoints[0]) as peer:
        watcher.ask(Subscribe(id="s", topics=["queue"]), Ok)
        assert watcher.expect(Event).data["running"] == 0
        peer.send(endless("1", n=4))
        peer.expect(Accepted)
        assert watcher.expect(Event).data["running"] == 1
        peer.ask(Cancel(id="c", target="1"), Ok)
        assert watcher.expect(Event).data["running"] == 0
        assert not watcher.hears(0.3)


def test_an_empty_list_ends_it(served: Served) -> None:
    with Peer(served.endpoint) as peer:
        peer.ask(Subscribe(id="s", topics=["queue"]), Ok)
        peer.expect(Event)
        peer.ask(Subscribe(id="t", topics=[]), Ok)
        served.facts["queued"] = 1
        served.run(served.server.changed)
        assert not peer.hears(0.3)


def test_only_what_changed_and_only_the_newest_is_told(served: Served) -> None:
    with Peer(served.endpoint) as peer:
        peer.ask(Subscribe(id="s", topics=["queue"]), Ok)
        assert peer.expect(Event).data == {"queued": 0}
        served.run(served.server.changed)
        assert not peer.hears(0.3)
        for number in range(1, 50):
            served.facts["queued"] = number
            served.run(served.server.changed)
        while peer.expect(Event).data != {"queued": 49}:
            pass
        assert not peer.hears(0.3)


def test_a_lost_engine_is_told(daemon: DaemonFacts) -> None:
    """P5: within a second."""
    with Peer(daemon.endpoints[0]) as peer:
        peer.ask(Subscribe(id="s", topics=["model", "replicas"]), Ok)
        states = {event.topic: event.data for event in (peer.expect(Event), peer.expect(Event))}
        (lost,) = states["replicas"]["replicas"]
        os.kill(lost["pid"], signal.SIGKILL)
        replica, told = lost, []
        while replica["pid"] == lost["pid"] or replica["state"] != "ready":
            event = peer.expect(Event)
            if event.topic == "model":
                told.append(event.data["state"])
            else:
                (replica,) = event.data["replicas"]
        # Another engine that is there before the changes are told leaves the model as it was.
        assert not told or (told[-1] == "ready" and "ready" not in told[:-1])
        assert replica["model_loads"] == lost["model_loads"] + 1
        peer.send(endless("1", max_tokens=5))
        assert isinstance(peer.until_terminal("1")[-1], Done)
