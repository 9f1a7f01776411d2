"""Turns, order and bounds of the waiting line."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmd.daemon.pool.queue import FairQueue


@dataclass(frozen=True)
class Item:
    principal: str
    number: int


def filled(*principals: str, bound: int = 64) -> FairQueue[Item]:
    queue: FairQueue[Item] = FairQueue(bound)
    for number, principal in enumerate(principals):
        queue.push(Item(principal, number))
    return queue


def drain(queue: FairQueue[Item]) -> list[Item]:
    return [queue.pop() for _ in range(len(queue))]


def test_principals_take_turns() -> None:
    queue = filled(*"aaaabbc")
    assert "".join(item.principal for item in drain(queue)) == "abcabaa"


def test_one_principal_is_served_in_order() -> None:
    assert [item.number for item in drain(filled(*"aaaa"))] == [0, 1, 2, 3]


def test_a_newcomer_waits_for_one_turn_of_each() -> None:
    queue = filled(*"aaabbb")
    queue.pop()
    queue.push(Item("c", 9))
    assert "".join(item.principal for item in drain(queue)) == "bacbab"


@given(st.lists(st.sampled_from("abcd")), st.integers(0, 20))
def test_iteration_shows_the_order_of_service(principals: list[str], pops: int) -> None:
    queue = filled(*principals)
    for _ in range(min(pops, len(queue))):
        queue.pop()
    shown = list(queue)
    assert queue.first() == (shown[0] if shown else None)
    assert shown == drain(queue)


def test_removing_keeps_the_others() -> None:
    queue = filled(*"aab")
    assert queue.remove(Item("a", 0))
    assert not queue.remove(Item("a", 0))
    assert not queue.remove(Item("z", 0))
    assert [item.number for item in drain(queue)] == [1, 2]


def test_a_principal_whose_last_item_is_removed_leaves_no_trace() -> None:
    queue = filled("a", bound=1)
    queue.remove(Item("a", 0))
    assert len(queue) == 0
    assert queue.first() is None
    with pytest.raises(IndexError):
        queue.pop()


def test_a_full_queue_refuses_whoever_filled_it_but_not_a_newcomer() -> None:
    queue = filled(*"aaaa", bound=4)
    assert not queue.has_room("a")
    assert queue.has_room("b")
    queue.push(Item("b", 4))
    assert not queue.has_room("b")


def test_many_newcomers_cannot_grow_it_without_bound() -> None:
    queue = filled(*"aaaa", *"bcde", bound=4)
    assert not queue.has_room("f")


def test_clear_gives_everything_in_order() -> None:
    queue = filled(*"aab")
    assert [item.number for item in queue.clear()] == [0, 2, 1]
    assert len(queue) == 0
