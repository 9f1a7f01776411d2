"""Which replicas there are, on what, and why."""

from __future__ import annotations

import os
from dataclasses import dataclass

from glmd.daemon.engine.messages import Load
from glmd.daemon.pool.grammar import count
from glmd.daemon.pool.spec import PoolSpec
from glmd.errors import InvalidRequest


@dataclass(frozen=True)
class Placement:
    """One `Load` a replica, and a sentence for `glmd status`."""

    loads: list[Load]
    reason: str


def place(spec: PoolSpec) -> Placement:
    """Raises InvalidRequest where the replicas cannot be laid out as asked."""
    return _on_cpu(spec) if spec.backend == "cpu" else _on_devices(spec)


def _on_cpu(spec: PoolSpec) -> Placement:
    if spec.devices:
        raise InvalidRequest(
            "Device ids were given, but the backend is the CPU.",
            hint="Leave --devid out, or choose --backend bm1684x.",
        )
    threads = spec.threads or len(os.sched_getaffinity(0))
    n = spec.replicas or 1
    shares = [max(threads // n + (i < threads % n), 1) for i in range(n)]
    fewest, most = shares[-1], shares[0]
    each = count(most, "thread") if fewest == most else f"{fewest} or {most} threads"
    asked, able = count(threads, "thread", "was"), count(threads, "thread")
    why = f"{asked} asked for" if spec.threads else f"{able} can run here"
    reason = f"{count(n, 'replica')} on the CPU with {each}{' each' if n > 1 else ''}: {why}."
    return Placement([_load(spec, threads=share, sharing=n) for share in shares], reason)


def _on_devices(spec: PoolSpec) -> Placement:
    ids = spec.devices
    if not ids:
        raise InvalidRequest(
            f"The {spec.backend} backend needs device ids.", hint="Name them, as in --devid 0,1."
        )
    if len(set(ids)) != len(ids):
        raise InvalidRequest(f"A device id is given twice in {_ids(ids)}.")
    width = spec.model_devices
    if spec.simulate:
        if width > 1:
            raise InvalidRequest(
                f"{spec.model.name} runs on {width} devices at a time; the simulator is one.",
                hint="Compile the model for one device to simulate it.",
            )
        _check_replicas(spec, 1)
        return Placement([_load(spec, devices=ids)], "1 replica on the simulator of a BM1684X.")
    if len(ids) % width:
        raise InvalidRequest(
            f"{spec.model.name} runs on {count(width, 'device')} at a time, and "
            f"{count(len(ids), 'id')} cannot be shared out evenly.",
            hint=f"Give a multiple of {width} ids, or a bmodel for another number of devices.",
        )
    groups = [ids[i : i + width] for i in range(0, len(ids), width)]
    _check_replicas(spec, len(groups))
    on = " and ".join(_ids(group) for group in groups)
    reason = (
        f"{count(len(groups), 'replica')}: the bmodel takes {count(width, 'device')}, "
        f"{count(len(ids), 'id', 'was')} given (on {on})."
    )
    return Placement([_load(spec, devices=group) for group in groups], reason)


def _check_replicas(spec: PoolSpec, possible: int) -> None:
    if spec.replicas not in (0, possible):
        asked, each = count(spec.replicas, "replica", "was"), count(spec.model_devices, "device")
        raise InvalidRequest(
            f"{asked} asked for, and on {_ids(spec.devices)} there can be {possible}: "
            f"{spec.model.name} takes {each}.",
            hint="Leave --replicas out: there are as many as --devid names chips for.",
        )


def _load(
    spec: PoolSpec, *, threads: int = 0, sharing: int = 1, devices: list[int] | None = None
) -> Load:
    return Load(
        model=str(spec.model),
        backend=spec.backend,
        mode=spec.mode or "",
        context=spec.context,
        slots=spec.slots,
        threads=threads,
        sharing=sharing,
        devices=devices or [],
        simulate=spec.simulate,
        plugin_memory=spec.plugin_memory,
        libsophon=spec.libsophon,
        vocab=spec.vocab,
    )


def _ids(ids: list[int]) -> str:
    return ",".join(map(str, ids))
