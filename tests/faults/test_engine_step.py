"""A step that fails on the device costs the requests in it, and nobody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.checkpoints import Shape, write_checkpoint
from support.engine import prompt, submit

from glmd.daemon.engine import transport
from glmd.daemon.engine.inbox import Inbox
from glmd.daemon.engine.loader import load_backend
from glmd.daemon.engine.loop import Loop
from glmd.daemon.engine.messages import AnyEvent, Failed, Load, Step, Stop, Submit
from glmd.daemon.engine.outbox import Outbox
from glmd.daemon.engine.plugins import Plugins
from glmd.daemon.native._engine import Backend, CancelFlag, EngineError
from glmd.daemon.plugins.breadcrumb import Breadcrumb


class Faulty:
    """A real backend whose calls fail when `fault` says so: it is given the name and the number of
    the call, and raises."""

    def __init__(self, backend: Backend, fault: Callable[[str, int], None]) -> None:
        self._backend = backend
        self._fault = fault
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def forward(self, *arguments: Any) -> Any:
        self._calls += 1
        self._fault("forward", self._calls)
        return self._backend.forward(*arguments)

    def copy_prefix(self, *arguments: int) -> None:
        self._fault("copy_prefix", self._calls)
        self._backend.copy_prefix(*arguments)


def device_error(call: str) -> EngineError:
    error = EngineError("the device said no")
    error.call, error.status = call, 5
    return error


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("m"), Shape(), tokenizer=None)


@pytest.fixture
def serve(model: Path) -> Iterator[Callable[..., list[AnyEvent]]]:
    """Run requests one after another (each a group that starts together) on a faulty backend; all
    events, in order."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)

    def run(fault: Callable[[str, int], None], *groups: list[Submit]) -> list[AnyEvent]:
        load = Load(str(model), "cpu", "f16", slots=4, threads=1)
        backend = load_backend(load, lambda done, total: None).backend
        inbox = Inbox(CancelFlag())
        plugins = Plugins(Breadcrumb.create(), 0)
        loop = Loop(Faulty(backend, fault), inbox, Outbox(theirs), plugins, {})  # type: ignore[arg-type]
        thread = threading.Thread(target=loop.run)
        thread.start()
        decoder = transport.events()
        events: list[AnyEvent] = []
        try:
            for group in groups:
                waiting = {request.id for request in group}
                for request in group:
                    inbox.put(request)
                while waiting:
                    new = list(decoder.feed(ours.recv(1 << 16)))
                    events += new
                    waiting -= {e.id for e in new if isinstance(e, Failed)}
                    waiting -= {
                        t.id for e in new if isinstance(e, Step) for t in e.tokens if t.finish
                    }
        finally:
            inbox.put(Stop())
            thread.join()
        return events

    yield run
    ours.close()
    theirs.close()


def tokens(events: list[AnyEvent], id: int) -> list[int]:
    return [t.token for e in events if isinstance(e, Step) for t in e.tokens if t.id == id]


def never(call: str, n: int) -> None:
    pass


def test_the_tenth_step_fails(serve) -> None:
    def tenth(call: str, n: int) -> None:
        if (call, n) == ("forward", 10):
            raise device_error(call)

    first = [submit(1, prompt(10), 50), submit(2, prompt(20), 50, choices=[(0, []), (1, [])])]
    events = serve(tenth, first, [submit(3, prompt(10), 20, seed=1)])
    failures = [e for e in events if isinstance(e, Failed)]
    assert sorted(e.id for e in failures) == [1, 2]
    for failure in failures:
        assert failure.code == "engine_failed"
        assert "forward" in failure.message
        assert "status 5" in failure.message
        assert "the device said no" in failure.message
    assert tokens(events, 3) == tokens(serve(never, [submit(3, prompt(10), 20, seed=1)]), 3)


def test_copying_a_prefix_fails(serve) -> None:
    def copies(call: str, n: int) -> None:
        if call == "copy_prefix":
            raise device_error(call)

    wide = submit(1, prompt(30), 5, choices=[(0, []), (1, []), (2, [])])
    events = serve(copies, [wide], [submit(2, prompt(40, seed=9), 5)])
    (failure,) = [e for e in events if isinstance(e, Failed)]
    assert (failure.id, failure.code) == (1, "engine_failed")
    assert len(tokens(events, 2)) == 5


def test_a_bug_in_the_sampler_costs_its_own_request(serve, monkeypatch, capfd) -> None:
    from glmd.daemon.engine.sampling import Chain

    whole = Chain.sample

    def buggy(self, result, history):
        if len(history) == 35:
            raise ZeroDivisionError("one in a thousand")
        return whole(self, result, history)

    expected = tokens(serve(never, [submit(2, prompt(10), 12)]), 2)
    monkeypatch.setattr(Chain, "sample", buggy)
    events = serve(never, [submit(1, prompt(30), 20), submit(2, prompt(10), 12)])
    (failure,) = [e for e in events if isinstance(e, Failed)]
    assert (failure.id, failure.code) == (1, "internal")
    assert tokens(events, 2) == expected
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_memory_runs_out_in_a_sampler(serve, monkeypatch, capfd) -> None:
    from glmd.daemon.engine.sampling import Chain

    def hungry(self, result, history):
        raise MemoryError

    monkeypatch.setattr(Chain, "sample", hungry)
    (failure,) = [e for e in serve(never, [submit(1, prompt(5), 5)]) if isinstance(e, Failed)]
    assert failure.code == "out_of_memory"
    assert "MemoryError" in capfd.readouterr().err
