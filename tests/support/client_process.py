"""A client in a process of its own, so that it can be killed, stopped and left unread.

    python -m support.client_process ENDPOINT READ < requests

sends the requests (JSON, one a line) behind a hello and then reads `READ` messages (-1: for ever)
before it sleeps. It prints a line when it sleeps or has read its first delta.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

import msgspec
import zmq

from glmd.wire.codec import decode_reply, encode
from glmd.wire.replies import Delta
from glmd.wire.requests import AnyRequest, Hello, Request


class ClientProcess:
    """`reading`: messages it takes before it sleeps with the rest unread."""

    def __init__(self, endpoint: str, *requests: Request, reading: int = -1) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.client_process", endpoint, str(reading)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        stdin = cast(BinaryIO, self.process.stdin)
        stdin.write(b"\n".join(msgspec.json.encode(request) for request in requests))
        stdin.close()

    def underway(self) -> None:
        """Wait until it has read a delta, or sleeps."""
        assert cast(BinaryIO, self.process.stdout).readline()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def __enter__(self) -> ClientProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        cast(BinaryIO, self.process.stdout).close()


def main() -> None:
    endpoint, reading = sys.argv[1], int(sys.argv[2])
    socket: zmq.Socket[bytes] = zmq.Context().socket(zmq.DEALER)
    socket.connect(endpoint)
    socket.send(encode(Hello(id="hello", protocol=(1, 1), client="process")))
    for line in sys.stdin.buffer:
        socket.send(encode(msgspec.json.decode(line, type=AnyRequest)))  # type: ignore[arg-type]
    told = False
    while reading:
        reading -= 1
        reply = decode_reply(socket.recv())
        if isinstance(reply, Delta) and not told:
            told = True
            print("reading", flush=True)
    print("sleeping", flush=True)
    time.sleep(3600)


if __name__ == "__main__":
    main()
