"""Print an answer while it comes, and how fast that was: python examples/stream.py [QUESTION]"""

from __future__ import annotations

import sys

import glmd

question = " ".join(sys.argv[1:]) or "How do I use two cards?"

with glmd.Client() as client, client.stream(question) as stream:
    for delta in stream:
        print(delta.text, end="", flush=True)
    result = stream.result()

print(f"\n{result.timings.first_token_ms:.0f} ms to the first token, ", end="")
print(f"{result.timings.tokens_per_second:.1f} tokens/s, seed {result.seed}")
