"""`glmd compile info`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmd.frontends.cli.options import json_option
from glmd.frontends.cli.terminal import file_size, note, print_json, print_table

if TYPE_CHECKING:
    from glmd.bmodel.features import Features
    from glmd.bmodel.nets import Bmodel, Net, Stage, Tensor

_NUMBERED = re.compile(r"(.*_)(\d+)")


@click.command("info")
@click.argument("bmodel", type=click.Path(path_type=Path), metavar="FILE.bmodel")
@json_option
def command(bmodel: Path, as_json: bool) -> int:
    """Say what is in a bmodel, whoever made it; needs neither the compiler nor a device.

    A bmodel that glmd cannot serve is described as well, and the reason given.
    """
    from glmd.bmodel.features import read_features
    from glmd.bmodel.reader import read_bmodel
    from glmd.checkpoint.source import located
    from glmd.errors import ModelError

    found = read_bmodel(located(bmodel))
    features, refused = None, None
    try:
        features = read_features(found)
    except ModelError as error:
        refused = error.message
    if as_json:
        print_json(_facts(found) | {"features": features, "refused": refused})
        return 0
    for name, value in [*_file(found), *(_features(features) if features else [])]:
        click.echo(f"{name:12} {value}")
    click.echo()
    print_table(("net", "kind", "inputs", "outputs"), _rows(found.nets))
    if refused:
        note(refused)
    return 0


def _file(bmodel: Bmodel) -> list[tuple[str, str]]:
    devices = "1 device" if bmodel.devices == 1 else f"{bmodel.devices} devices"
    # glmd makes the same file from the same model, and therefore writes no time into it.
    when = "" if bmodel.created.endswith(" 1970") else f" on {bmodel.created}"
    rows = [
        ("file", f"{bmodel.path}, {file_size(bmodel.nbytes)}"),
        ("compiled", f"for {bmodel.chip}, {devices}, by {bmodel.version}{when}"),
    ]
    for device in range(bmodel.devices):
        memory = bmodel.memory(device)
        parts = {
            "weights": memory.weights,
            "instructions": memory.instructions,
            "runtime": memory.runtime,
        }
        listed = ", ".join(f"{name} {file_size(nbytes)}" for name, nbytes in parts.items())
        name = "memory" if bmodel.devices == 1 else f"memory of {device}"
        rows.append((name, f"{file_size(memory.total)}: {listed}"))
    return rows


def _features(found: Features) -> list[tuple[str, str]]:
    width = found.width
    cache = {
        "row": "a step returns its new row",
        "shifted": "a step returns all of it, shifted by a row",
    }[found.kv_form]
    vocab = f", vocabulary {found.vocab}" if found.vocab else ""
    lengths = f"prompts of {_numbers(found.prefill)} at once"
    if found.chunks:
        lengths += f", behind others {_numbers(found.chunks)}; decodes {_numbers(found.decodes)}"
    heads = f", {', '.join(found.heads)}" if found.heads else ", no other head"
    rows = [
        ("model", f"{found.layers} layers, hidden {width.hidden}{vocab}"),
        ("context", f"{found.seq_length} tokens; {lengths}"),
        ("hidden", f"{found.hidden_layout} {width.dtype}; mask {width.mask_dtype}"),
        ("KV cache", f"{width.kv_heads} heads of {width.head_dim} a device; {cache}"),
        ("output", f"lm_head gives {'logits' if found.output == 'logits' else 'a token'}{heads}"),
        ("weights", f"{found.quantisation or '?'}; lm_head {found.head_quantisation or '?'}"),
        ("addresses", f"{found.prefill_addr_mode} for a prompt, {found.addr_mode} for a token"),
    ]
    if found.others:
        rows.append(("unknown nets", ", ".join(found.others)))
    return rows


def _numbers(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def _rows(nets: tuple[Net, ...]) -> list[list[str]]:
    """A row for each stage; nets that differ in their number alone have one together."""
    alike: dict[tuple[str, tuple[Any, ...]], list[str]] = {}
    for net in nets:
        match = _NUMBERED.fullmatch(net.name)
        prefix, number = (match[1], match[2]) if match else (net.name, "")
        stages = tuple(_stage(stage) for stage in net.stages)
        alike.setdefault((prefix, stages), []).append(number)
    return [
        [prefix + (first if first == last else f"{first}…{last}"), *stage]
        for (prefix, stages), (first, *_, last) in (
            (key, (numbers[0], *numbers)) for key, numbers in alike.items()
        )
        for stage in stages
    ]


def _stage(stage: Stage) -> tuple[str, str, str]:
    """Of the first device: the others take and return the same."""
    one = stage.on(0)
    kind = "dynamic" if stage.dynamic else "static"
    return kind, _listed(one.inputs), _listed(one.outputs)


def _listed(tensors: tuple[Tensor, ...]) -> str:
    return "  ".join(f"{t.dtype}[{','.join(map(str, t.shape))}]" for t in tensors)


def _facts(bmodel: Bmodel) -> dict[str, Any]:
    return {
        "file": str(bmodel.path),
        "nbytes": bmodel.nbytes,
        "version": bmodel.version,
        "chip": bmodel.chip,
        "created": bmodel.created,
        "devices": bmodel.devices,
        "memory": [bmodel.memory(device) for device in range(bmodel.devices)],
        "nets": [
            {
                "name": net.name,
                "addr_mode": net.addr_mode,
                "stages": [
                    {
                        "inputs": stage.inputs,
                        "outputs": stage.outputs,
                        "dynamic": stage.dynamic,
                        "weights": _weights(stage),
                    }
                    for stage in net.stages
                ],
            }
            for net in bmodel.nets
        ],
    }


def _weights(stage: Stage) -> list[int]:
    """Bytes on each device."""
    devices = max(part.device for part in stage.parts) + 1
    return [sum(part.weight_bytes for part in stage.on(d).parts) for d in range(devices)]
