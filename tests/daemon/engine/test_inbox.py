"""A cancel ends the forward from which nobody gets anything any more, and no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glmd.daemon.engine.inbox import Inbox
from glmd.daemon.engine.loader import load_backend
from glmd.daemon.engine.messages import Cancel, Load, Stop
from glmd.daemon.native._engine import Backend, CancelFlag, Span, StepCancelled, Want


@pytest.fixture(scope="module")
def backend(tiny_model: Path) -> Backend:
    load = Load(str(tiny_model), "cpu", "f16", slots=1, threads=1)
    return load_backend(load, lambda done, total: None).backend


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(CancelFlag())


def ends_early(backend: Backend, inbox: Inbox) -> bool:
    """Whether a forward stops at the flag as it is now."""
    span = Span(0, 0, np.arange(3, 40, dtype=np.int32), Want.none)
    try:
        backend.forward([span], inbox.cancel)
    except StepCancelled:
        return True
    return False


def test_the_only_work_is_cancelled(backend: Backend, inbox: Inbox) -> None:
    inbox.begin([(1, 0), (1, 1)])
    inbox.put(Cancel(1))
    assert ends_early(backend, inbox)


def test_one_choice_of_two_goes_on(backend: Backend, inbox: Inbox) -> None:
    inbox.begin([(1, 0), (1, 1)])
    inbox.put(Cancel(1, 0))
    assert not ends_early(backend, inbox)
    inbox.put(Cancel(1, 1))
    assert ends_early(backend, inbox)


def test_another_request_in_the_same_step_goes_on(backend: Backend, inbox: Inbox) -> None:
    inbox.begin([(1, 0), (2, 0)])
    inbox.put(Cancel(1))
    inbox.put(Cancel(3))
    assert not ends_early(backend, inbox)


def test_stopping_ends_whatever_runs(backend: Backend, inbox: Inbox) -> None:
    inbox.begin([(1, 0), (2, 0)])
    inbox.put(Stop())
    assert ends_early(backend, inbox)


def test_a_cancel_that_arrives_just_before_the_forward_counts(
    backend: Backend, inbox: Inbox
) -> None:
    inbox.put(Cancel(1))
    inbox.begin([(1, 0)])
    assert ends_early(backend, inbox)


def test_a_cancel_between_forwards_is_not_held_against_the_next(
    backend: Backend, inbox: Inbox
) -> None:
    inbox.begin([(1, 0)])
    inbox.put(Cancel(1))
    inbox.end()
    inbox.put(Cancel(2))
    assert inbox.take(0) == [Cancel(1), Cancel(2)]
    inbox.begin([(3, 0)])
    assert not ends_early(backend, inbox)


def test_commands_come_out_in_order_and_once(inbox: Inbox) -> None:
    commands = [Cancel(1), Stop(), Cancel(2)]
    for command in commands:
        inbox.put(command)
    assert inbox.take(None) == commands
    assert inbox.take(0) == []
