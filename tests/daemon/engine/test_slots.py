"""Which slot a prompt gets, and how much of it need not be computed."""

from __future__ import annotations

import numpy as np

from glmd.daemon.engine.shelf import Shelf, Shelved
from glmd.daemon.engine.slots import Place, Slot, Slots


def ids(*parts: int | range) -> np.ndarray:
    flat = [token for part in parts for token in ([part] if isinstance(part, int) else part)]
    return np.array(flat, np.int32)


def keep_all(shared: int) -> int:
    return shared


def serve(slots: Slots, tokens: np.ndarray, keep=keep_all) -> Place:
    """Take a place and fill it, as the loop does."""
    place = slots.take(tokens, keep)
    assert place is not None
    place.slot.tokens, place.slot.length = tokens, len(tokens)
    return place


def serve_and_leave(slots: Slots, tokens: np.ndarray) -> Slot:
    slot = serve(slots, tokens).slot
    slots.give_back(slot)
    return slot


def test_the_next_turn_finds_its_conversation() -> None:
    slots = Slots(3)
    mine = serve_and_leave(slots, ids(range(10)))
    serve_and_leave(slots, ids(range(50, 60)))
    place = slots.take(ids(range(10), 98, 99), keep_all)
    assert place == Place(mine, mine, 10)


def test_the_longest_prefix_wins() -> None:
    slots = Slots(3)
    serve_and_leave(slots, ids(range(4), 77))
    longer = serve_and_leave(slots, ids(range(6), 88))
    place = slots.take(ids(range(10)), keep_all)
    assert place is not None
    assert (place.source, place.cached) == (longer, 6)


def test_a_busy_slot_lends_its_prefix() -> None:
    slots = Slots(2)
    busy = serve(slots, ids(range(20))).slot
    place = slots.take(ids(range(20), 5), keep_all)
    assert place is not None
    assert place.slot is not busy
    assert (place.source, place.cached) == (busy, 20)


def test_a_prefix_is_used_in_place_rather_than_copied() -> None:
    slots = Slots(3)
    busy = serve(slots, ids(range(8))).slot
    idle = serve_and_leave(slots, ids(range(8)))
    place = slots.take(ids(range(8), 9), keep_all)
    assert place == Place(idle, idle, 8)
    assert busy.busy


def test_a_short_common_beginning_does_not_cost_another_conversation_its_cache() -> None:
    slots = Slots(2)
    long = serve_and_leave(slots, ids(0, 1, range(100, 200)))
    place = slots.take(ids(0, 1, range(300, 310)), keep_all)
    assert place is not None
    assert place.slot is not long
    assert (place.source, place.cached) == (long, 2)
    assert long.length == 102


def test_an_edited_turn_goes_on_in_place() -> None:
    slots = Slots(2)
    slot = serve_and_leave(slots, ids(range(100)))
    assert slots.take(ids(range(80), 500), keep_all) == Place(slot, slot, 80)


def test_the_conversation_idle_for_longest_makes_room() -> None:
    slots = Slots(3)
    held = [serve(slots, ids(range(10 * i, 10 * i + 5))).slot for i in (1, 2, 3)]
    for i in (1, 0, 2):
        slots.give_back(held[i])
    order = [slots.take(ids(range(1000 + i, 1010 + i)), keep_all) for i in range(3)]
    assert [place.slot for place in order if place] == [held[1], held[0], held[2]]


def test_empty_slots_are_filled_before_anything_is_evicted() -> None:
    slots = Slots(2)
    first = serve_and_leave(slots, ids(range(5)))
    second = serve_and_leave(slots, ids(range(50, 55)))
    assert first is not second


def test_what_is_not_worth_keeping_is_not_kept() -> None:
    slots = Slots(2)
    slot = serve_and_leave(slots, ids(range(10)))
    place = slots.take(ids(range(10), 3), lambda shared: 0)
    assert place is not None
    assert place.cached == 0
    assert place.slot is place.source
    assert slot.length == 10


def test_a_cleared_slot_shares_nothing() -> None:
    slots = Slots(1)
    slot = serve_and_leave(slots, ids(range(10)))
    slot.clear()
    assert slots.take(ids(range(10)), keep_all) == Place(slot, slot, 0)


def test_all_busy_means_no_place() -> None:
    slots = Slots(2)
    serve(slots, ids(1))
    serve(slots, ids(2))
    assert slots.busy == 2
    assert slots.take(ids(3), keep_all) is None


def test_shared_counts_leading_tokens_only() -> None:
    slot = Slot(0, ids(1, 2, 3, 4), length=3)
    assert slot.shared(ids(1, 2, 3, 4)) == 3
    assert slot.shared(ids(1, 2)) == 2
    assert slot.shared(ids(9, 2, 3)) == 0
    assert slot.shared(ids(1, 9, 3)) == 1


def shelving(n: int, room: int) -> Slots:
    return Slots(n, Shelf(room))


def carry_out(slots: Slots, place: Place) -> None:
    """As the loop does, ten bytes a position."""
    if place.shelves:
        held = place.slot.held.copy()
        slots.shelf.put(Shelved(held, np.zeros(10 * len(held), np.uint8)))
    if isinstance(place.source, Shelved) and 2 * place.cached >= len(place.source.tokens):
        slots.shelf.remove(place.source)


def serve_on(slots: Slots, tokens: np.ndarray) -> Place:
    place = slots.take(tokens, keep_all)
    assert place is not None
    carry_out(slots, place)
    place.slot.tokens, place.slot.length = tokens, len(tokens)
    slots.give_back(place.slot)
    return place


def test_who_loses_its_slot_comes_back_from_the_shelf() -> None:
    slots = shelving(2, room=1000)
    for start in (0, 100, 200):
        serve_on(slots, ids(range(start, start + 10)))
    assert (len(slots.shelf), slots.shelf.nbytes) == (1, 100)
    place = serve_on(slots, ids(range(10), 77))
    assert isinstance(place.source, Shelved)
    assert (place.cached, place.shelves) == (10, True)
    assert slots.shelf.best(ids(range(100, 110)))[0] == 10  # who had that slot
    assert len(slots.shelf) == 1


def test_a_branch_leaves_the_longer_conversation_on_the_shelf() -> None:
    slots = shelving(1, room=1000)
    serve_on(slots, ids(range(20)))
    serve_on(slots, ids(range(100, 103)))
    place = serve_on(slots, ids(range(4), 77))
    assert (isinstance(place.source, Shelved), place.cached) == (True, 4)
    assert slots.shelf.best(ids(range(20)))[0] == 20


def test_who_shares_a_short_beginning_and_loses_its_slot_is_shelved() -> None:
    """All prompts begin alike, and the only idle slot is then the best one."""
    slots = shelving(2, room=1000)
    serve(slots, ids(range(5)))  # and it stays
    serve_on(slots, ids(range(3), range(20, 40)))
    place = serve_on(slots, ids(range(3), range(50, 60)))
    assert place.shelves
    assert slots.shelf.best(ids(range(3), range(20, 40)))[0] == 23
    assert not serve_on(slots, ids(range(3), range(50, 58), 99)).shelves  # an edited turn


def test_what_another_holds_as_well_is_not_shelved() -> None:
    slots = shelving(2, room=1000)
    serve(slots, ids(range(10)))  # and it stays
    serve_on(slots, ids(range(4)))
    assert not serve_on(slots, ids(range(50, 60))).shelves
    assert serve_on(slots, ids(range(70, 80))).shelves


def test_the_longest_shelved_make_room() -> None:
    slots = shelving(1, room=200)
    for start in (0, 100, 200, 300):
        serve_on(slots, ids(range(start, start + 10)))
    assert slots.shelf.nbytes == 200
    assert slots.shelf.best(ids(range(10)))[0] == 0
    serve_on(slots, ids(range(30, 60)))
    serve_on(slots, ids(7))
    assert slots.shelf.best(ids(range(30, 60)))[0] == 0  # larger than the shelf
    assert slots.shelf.best(ids(range(300, 310)))[0] == 10


def test_nothing_is_shelved_without_room() -> None:
    slots = Slots(1)
    serve_on(slots, ids(range(10)))
    assert not serve_on(slots, ids(range(50, 60))).shelves
