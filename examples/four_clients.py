"""Four clients chat with one daemon at once: two `glmd chat`, in processes of their own as in two
terminals, and two connections of this program, which ask until the terminals have their answers.

A line is what one of them got before the next piece of another.
"""

from __future__ import annotations

import asyncio
import codecs
import sys
from asyncio.subprocess import PIPE
from itertools import cycle, groupby

import glmd

TYPED = ("How do I start it?\n", "How do I use two cards?\n")
ASKED = (("你是谁？", "How do I see the log?"), ("你好", "怎么停止？"))
LINES = 24

pieces: list[tuple[str, str]] = []  # who got it, and what, as they came


async def terminal(name: str, typed: str) -> None:
    chat = (sys.executable, "-I", "-m", "glmd", "chat")
    process = await asyncio.create_subprocess_exec(*chat, stdin=PIPE, stdout=PIPE)
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("glmd chat has no pipes")
    process.stdin.write(typed.encode())
    process.stdin.close()
    decoder = codecs.getincrementaldecoder("utf-8")()
    while data := await process.stdout.read(4096):
        pieces.append((name, decoder.decode(data)))
    if await process.wait():
        raise RuntimeError(f"glmd chat ended with {process.returncode}")


async def program(name: str, asked: tuple[str, ...], over: asyncio.Event) -> None:
    async with glmd.AsyncClient() as client:
        for question in cycle(asked):
            async for delta in client.stream(question):
                pieces.append((name, delta.text))
            if over.is_set():
                return


async def main() -> None:
    over = asyncio.Event()
    programs = [
        asyncio.create_task(program(f"program {n}", asked, over))
        for n, asked in enumerate(ASKED, 1)
    ]
    await asyncio.gather(*(terminal(f"terminal {n}", typed) for n, typed in enumerate(TYPED, 1)))
    over.set()
    await asyncio.gather(*programs)
    runs = [(who, [text for _, text in run]) for who, run in groupby(pieces, lambda p: p[0])]
    for who, texts in runs[:LINES]:
        print(f"{who:>10} │ {' '.join(''.join(texts).split())}")
    if len(runs) > LINES:
        print(f"{'…':>10} │ and so on: {len(pieces)} pieces in all")


asyncio.run(main())
