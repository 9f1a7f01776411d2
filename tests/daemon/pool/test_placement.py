"""Replicas from what was asked, with the reason in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glmd.daemon.pool.placement import place
from glmd.daemon.pool.spec import PoolSpec
from glmd.errors import InvalidRequest


def cpu(**fields) -> PoolSpec:
    return PoolSpec(model=Path("m"), backend="cpu", **fields)


def cards(width: int, *ids: int, **fields) -> PoolSpec:
    return PoolSpec(
        model=Path("glm.bmodel"),
        backend="bm1684x",
        devices=list(ids),
        model_devices=width,
        **fields,
    )


def test_one_replica_has_all_threads() -> None:
    placement = place(cpu())
    cores = len(os.sched_getaffinity(0))
    assert [load.threads for load in placement.loads] == [cores]
    assert placement.reason.startswith("1 replica on the CPU")


@pytest.mark.parametrize(
    ("threads", "replicas", "shares"),
    [(8, 2, [4, 4]), (7, 3, [3, 2, 2]), (2, 4, [1, 1, 1, 1]), (5, 1, [5])],
)
def test_threads_are_divided(threads: int, replicas: int, shares: list[int]) -> None:
    placement = place(cpu(threads=threads, replicas=replicas))
    assert [load.threads for load in placement.loads] == shares
    assert {load.sharing for load in placement.loads} == {replicas}
    assert str(replicas) in placement.reason


def test_the_reason_reads_as_a_sentence() -> None:
    assert place(cpu(threads=7, replicas=3)).reason == (
        "3 replicas on the CPU with 2 or 3 threads each: 7 threads were asked for."
    )
    assert place(cpu(threads=1)).reason == (
        "1 replica on the CPU with 1 thread: 1 thread was asked for."
    )
    assert place(cards(1, 0)).reason == (
        "1 replica: the bmodel takes 1 device, 1 id was given (on 0)."
    )
    assert place(cards(2, 0, 1, 4, 5)).reason == (
        "2 replicas: the bmodel takes 2 devices, 4 ids were given (on 0,1 and 4,5)."
    )


def test_ids_are_shared_out_by_the_devices_of_the_bmodel() -> None:
    placement = place(cards(2, 3, 2, 1, 0))
    assert [load.devices for load in placement.loads] == [[3, 2], [1, 0]]


def test_a_remainder_is_an_error() -> None:
    with pytest.raises(InvalidRequest, match="cannot be shared out evenly") as caught:
        place(cards(2, 0, 1, 2))
    assert "multiple of 2" in caught.value.hint


def test_replicas_on_chips_follow_from_their_ids() -> None:
    assert len(place(cards(1, 0, 1, replicas=2)).loads) == 2
    with pytest.raises(
        InvalidRequest, match="3 replicas were asked for, and on 0,1 there can be 1"
    ):
        place(cards(2, 0, 1, replicas=3))


@pytest.mark.parametrize(
    "spec",
    [
        cpu(devices=[0]),
        cards(1),
        cards(1, 1, 1),
        cards(2, 0, simulate=True),
        cards(1, 0, simulate=True, replicas=2),
        cards(1, 0, 1, replicas=1),
    ],
)
def test_what_cannot_be_is_refused(spec: PoolSpec) -> None:
    with pytest.raises(InvalidRequest):
        place(spec)


def test_the_spec_reaches_the_child() -> None:
    (load,) = place(cpu(mode="int8", context=99, slots=3, threads=1)).loads
    assert (load.model, load.backend, load.mode) == ("m", "cpu", "int8")
    assert (load.context, load.slots, load.threads) == (99, 3, 1)
    (load,) = place(cpu()).loads
    assert load.mode == ""


def test_the_simulator_is_one_replica() -> None:
    placement = place(cards(1, 0, simulate=True, libsophon="/lib", vocab=7))
    (load,) = placement.loads
    assert (load.devices, load.simulate, load.libsophon, load.vocab) == ([0], True, "/lib", 7)
    assert placement.reason == "1 replica on the simulator of a BM1684X."
