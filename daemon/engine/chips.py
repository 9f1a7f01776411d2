"""What the driver says of chips that nobody uses: `python -I -m glmd.daemon.engine.chips LIBSOPHON
ID...` opens one after the other and writes a line of JSON for each, `chip_facts` or its `problem`.
"""

from __future__ import annotations

import json
import os
import sys

from glmd.daemon.native._engine import DeviceStats, EngineError, sophon_stats


def chip_facts(stats: DeviceStats) -> dict[str, float]:
    """What is known of a device."""
    facts: dict[str, float] = {"device": stats.device}
    if stats.memory_total > 0:
        facts |= {"memory_total": stats.memory_total, "memory_used": stats.memory_used}
    if stats.utilisation >= 0:
        facts["utilisation"] = stats.utilisation
    if stats.temperature > -1000:
        facts["temperature"] = stats.temperature
    return facts


def _ask(device: int, libsophon: str) -> dict[str, float | str]:
    try:
        return {**chip_facts(sophon_stats(device, libsophon))}
    except EngineError as error:
        return {"device": device, "problem": str(error)}


def main(libsophon: str, devices: list[int]) -> None:
    # The libraries print to the standard output as well.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for device in devices:
            # At once: the next chip may be the end of this process.
            print(json.dumps(_ask(device, libsophon)), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], [int(word) for word in sys.argv[2:]])
