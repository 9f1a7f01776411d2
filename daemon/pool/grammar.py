"""Numbers in sentences."""

from __future__ import annotations


def count(n: int, noun: str, verb: str = "") -> str:
    """`verb`: "is" or "was"; it and the noun follow the number."""
    words = [str(n or "no"), noun if n == 1 else f"{noun}s"]
    if verb:
        words.append(verb if n == 1 else {"is": "are", "was": "were"}[verb])
    return " ".join(words)
