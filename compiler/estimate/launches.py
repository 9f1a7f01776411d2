"""What a backend launches for the work it is given: a list, recorded, and priced here.

A file of JSON lines, one for each step, in order:

    {"case": "decode 2", "step": "decode 2", "launches": [["embedding", 2], ["decode2_0", 2], …]}

A case is a piece of work as a user sees it, and may take several steps. A launch is a net and the
rows of its stage.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from glmd.compiler.estimate.profile import Profile
from glmd.errors import CompileFailed

# Recorded on the simulator from a small model with a cache of 512 rows.
RECORDED = Path(__file__).with_name("launches.jsonl")

_OF_LAYER = re.compile(r"(.*)_(\d+)")

# A net without the number of its layer, and the rows of its stage.
Launch = tuple[str, int]


@dataclass(frozen=True)
class Case:
    """`layers`: how often each launch happens in every layer; `others`: beside the layers."""

    layers: Mapping[Launch, float]
    others: Mapping[Launch, int]

    def launches(self, layers: int) -> int:
        """Of a model with so many layers."""
        return round(layers * sum(self.layers.values())) + sum(self.others.values())

    def seconds(
        self, nets: Mapping[Launch, Profile | None], layers: int, launch_seconds: float
    ) -> float:
        """On the chip. Nets that the compiler does not time, because they are dynamic, and those
        that move a few rows count as a launch. Raises CompileFailed where one of a layer is
        missing."""
        total = launch_seconds * self.launches(layers)
        for launch, count in self.layers.items():
            profile = nets.get(launch)
            if profile is None:
                raise CompileFailed(
                    f"TPU-MLIR left no profile of {launch[0]} for {launch[1]} rows.",
                    hint="Compile it again.",
                )
            total += layers * count * profile.seconds
        for launch, count in self.others.items():
            if profile := nets.get(launch):
                total += count * profile.seconds
        return total


def read_cases(path: Path = RECORDED) -> dict[str, Case]:
    """By name, in the order of the file."""
    found: dict[str, list[tuple[str, int]]] = {}
    for line in path.read_text().splitlines():
        step = json.loads(line)
        found.setdefault(step["case"], []).extend((net, rows) for net, rows in step["launches"])
    return {name: _case(launches) for name, launches in found.items()}


def plain(net: str) -> tuple[str, int | None]:
    """Its name without the number of its layer, and that."""
    match = _OF_LAYER.fullmatch(net)
    return (match[1], int(match[2])) if match else (net, None)


def _case(launches: list[tuple[str, int]]) -> Case:
    of_layers: Counter[Launch] = Counter()
    others: Counter[Launch] = Counter()
    numbers = set()
    for net, rows in launches:
        name, number = plain(net)
        (others if number is None else of_layers)[name, rows] += 1
        numbers.add(number)
    layers = len(numbers - {None})
    return Case({launch: count / layers for launch, count in of_layers.items()}, others)
