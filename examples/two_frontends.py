"""A terminal and a Python program stream answers from one loaded model at the same time.

The terminal is `glmd chat` in a process of its own; the program is this one, which begins when the
terminal shows its first piece. When the program has a piece too, the terminal is asked once more. A
line is what one of them got before the next piece of the other. Fails when the two were never
served at once.
"""

from __future__ import annotations

import asyncio
import codecs
import sys
from asyncio.subprocess import PIPE
from itertools import groupby

import glmd

TYPED = ("你好\n", "How do I use two cards?\n")
ASKED = ("How do I load ChatGLM3-6B?", "你是谁？")
LINES = 24

pieces: list[tuple[str, str]] = []  # who got it, and what, as they came


async def terminal(begun: asyncio.Event, joined: asyncio.Event) -> None:
    chat = (sys.executable, "-I", "-m", "glmd", "chat")
    process = await asyncio.create_subprocess_exec(*chat, stdin=PIPE, stdout=PIPE)
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("glmd chat has no pipes")
    typing = asyncio.ensure_future(type_lines(process.stdin, joined))
    decoder = codecs.getincrementaldecoder("utf-8")()
    while data := await process.stdout.read(4096):
        pieces.append(("terminal", decoder.decode(data)))
        begun.set()
    begun.set()
    await typing
    if await process.wait():
        raise RuntimeError(f"glmd chat ended with {process.returncode}")


async def type_lines(stdin: asyncio.StreamWriter, joined: asyncio.Event) -> None:
    first, second = TYPED
    stdin.write(first.encode())
    await joined.wait()
    stdin.write(second.encode())
    stdin.close()


async def program(begun: asyncio.Event, joined: asyncio.Event) -> None:
    async with glmd.AsyncClient() as client:
        await client.status()  # connects, so as to begin at once
        await begun.wait()
        for question in ASKED:
            async for delta in client.stream(question):
                pieces.append(("program", delta.text))
                joined.set()


async def main() -> int:
    begun, joined = asyncio.Event(), asyncio.Event()
    await asyncio.gather(terminal(begun, joined), program(begun, joined))
    runs = [(who, [text for _, text in run]) for who, run in groupby(pieces, lambda p: p[0])]
    for who, texts in runs[:LINES]:
        print(f"{who:>9} │ {' '.join(''.join(texts).split())}")
    if len(runs) > LINES:
        print(f"{'…':>9} │ and so on: {len(pieces)} pieces in all")
    at_once = len(runs) > 2
    print("Both were answered at once." if at_once else "They were answered one after the other.")
    return 0 if at_once else 1


sys.exit(asyncio.run(main()))
