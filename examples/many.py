"""Sixteen questions at once, decoded in one batch: python examples/many.py"""

from __future__ import annotations

import asyncio

import glmd

QUESTIONS = ["How do I start it?", "What is glmd?", "你好", "怎么加载 ChatGLM3-6B？"] * 4


async def main() -> None:
    async with glmd.AsyncClient() as client:
        results = await asyncio.gather(*(client.chat(question) for question in QUESTIONS))
    for question, result in zip(QUESTIONS, results, strict=True):
        print(f"{question}  {result.text}")
    spans = [result.timings.total_ms for result in results]
    print(f"{sum(spans):.0f} ms of answers in about {max(spans):.0f} ms")


asyncio.run(main())
