"""A child seen from the core, engine or plugin host: its process, its socket, its log."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Generic, Protocol, TypeVar

import msgspec

from glmd.daemon.engine import transport

log = logging.getLogger("glmd.child")

COMMAND = [sys.executable, "-I", "-u", "-X", "faulthandler", "-m"]

# A line of a child's output beyond this is cut into pieces.
MAX_LINE = 8192


KILLED = "was killed by SIGKILL"  # how a child ended that somebody has killed, or we

E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)


class ChildListener(Protocol[E_contra]):
    """Called on the event loop. `gone` is the last call."""

    def happened(self, event: E_contra) -> None: ...

    def gone(self, how: str) -> None:
        """The process has ended; `how` says by what, as in KILLED."""


class Child(Generic[E]):
    """A running `python -m MODULE FD`, which reads commands from its socket and writes events to
    it. All calls return at once.

    It must be created in the main thread: the child asks the kernel to be killed when its parent
    dies, and Linux takes the thread that started it for the parent.
    """

    def __init__(
        self,
        name: str,
        module: str,
        decoder: transport.Decoder[E],
        listener: ChildListener[E],
        shared: Sequence[int] = (),
    ) -> None:
        """`name`: in the log. `shared`: descriptors that the child gets too, told to it as further
        arguments. Raises OSError when the system has no room for another process."""
        self._name = name
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._decoder = decoder
        self._unsent = bytearray()
        self._line = b""
        with ExitStack() as undo:
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            ours.setblocking(False)
            output, their_output = os.pipe()
            undo.callback(os.close, output)
            os.set_blocking(output, False)
            try:
                descriptors = [theirs.fileno(), *shared]
                self._process = subprocess.Popen(
                    [*COMMAND, module, *map(str, descriptors)],
                    stdin=subprocess.DEVNULL,
                    stdout=their_output,
                    stderr=their_output,
                    pass_fds=descriptors,
                    start_new_session=True,
                )
            finally:
                theirs.close()
                os.close(their_output)
            self._pidfd = os.pidfd_open(self._process.pid)
            undo.pop_all()
        self.pid = self._process.pid
        self._socket, self._output = ours, output
        self._loop.add_reader(self._pidfd, self._ended)
        self._loop.add_reader(self._socket, self._receive)
        self._loop.add_reader(self._output, self._read_output)

    def send(self, command: msgspec.Struct) -> None:
        """Never waits; what the socket does not take now follows later."""
        idle = not self._unsent
        self._unsent += transport.encode(command)
        if idle:
            self._transmit()

    def kill(self) -> None:
        """SIGKILL; `gone` follows."""
        if self._process.returncode is None:
            self._process.kill()

    def _transmit(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(self._unsent)  # it is dying; `gone` will say so
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._socket, self._transmit)
        else:
            self._loop.remove_writer(self._socket)

    def _receive(self) -> bool:
        """Take in what has arrived; False when that was nothing. Bytes that are no event mean that
        the child is beyond help."""
        try:
            data = self._socket.recv(1 << 18)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        try:
            for event in self._decoder.feed(data):
                self._listener.happened(event)
        except transport.FramingError as error:
            log.error("%s: %s", self._name, error)
            data = b""
        if not data:
            self._loop.remove_reader(self._socket)
            self.kill()
        return bool(data)

    def _read_output(self) -> bool:
        """Log what the child has printed; False when that was nothing."""
        try:
            data = os.read(self._output, 1 << 16)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._output)
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > MAX_LINE or not data:
            lines, self._line = [*lines, self._line], b""
        for line in lines:
            if line.strip():
                log.info("%s: %s", self._name, line.decode(errors="replace").rstrip())
        return bool(data)

    def _ended(self) -> None:
        """The process is dead; what it said before is still in the socket."""
        code = self._process.wait()
        while self._receive():
            pass
        while self._read_output():
            pass
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._loop.remove_reader(self._output)
        os.close(self._pidfd)
        os.close(self._output)
        self._socket.close()
        self._listener.gone(_how(code))


def _how(code: int) -> str:
    if code >= 0:
        return f"exited with status {code}"
    return f"was killed by {signal.Signals(-code).name}"
