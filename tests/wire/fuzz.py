"""A million mutated messages against the codec: `make fuzz`, or `fuzz.py COUNT SEED`.

Whatever else than a refusal comes out, it prints the message and the seed and exits with 1. It also
watches the time of each and the memory of all.
"""

from __future__ import annotations

import random
import resource
import sys
import time
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.mutations import corpus, mutated

from glmd.wire.codec import Undecodable, decode_request

SLOWEST = 0.1  # seconds of processor time for one message
GROWTH = 20 << 10  # KiB of memory


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    operations = corpus()
    print(f"{count:,} messages of {len(operations)} operations, seed {seed}")
    began, slowest, refused = time.monotonic(), 0.0, 0
    before = 0
    for op, payloads in operations.items():
        stream = mutated(payloads, random.Random(f"{seed} {op}"))
        for payload in islice(stream, count // len(operations)):
            started = time.process_time()
            try:
                decode_request(payload)
            except Undecodable:
                refused += 1
            except BaseException:
                print(f"op {op}, seed {seed}: {payload!r}", file=sys.stderr)
                raise
            slowest = max(slowest, time.process_time() - started)
        before = before or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"{refused:,} refused, the rest read; {time.monotonic() - began:.0f} s, slowest "
        f"{slowest * 1000:.1f} ms, memory grew by {grown} KiB"
    )
    return int(slowest > SLOWEST or grown > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
