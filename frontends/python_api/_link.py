"""The thread that talks to the daemon for a client, sync or async.

One thread owns the socket, since sockets are not thread-safe; others leave it work and wake it. The
first request makes a connection, and so does the first one after it was lost.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

import zmq

from glmd.errors import ConnectionFailed, GlmdError
from glmd.frontends.python_api._channel import Channel
from glmd.frontends.python_api._connection import Exchange, Side

_FAREWELL = 5.0  # seconds in which a client that closes hands over its detached requests


class Link:
    """`dial` begins a connection; it raises GlmdError where there is nothing to connect to."""

    def __init__(self, dial: Callable[[zmq.Context[zmq.Socket[bytes]]], Channel]) -> None:
        self._dial = dial
        self._work: deque[Exchange | Side] = deque()
        self._lock = threading.RLock()  # a stream that is collected anywhere tells its cancel
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._closing = False
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._channel: Channel | None = None  # the thread's alone

    def open(self, exchange: Exchange) -> None:
        """Send a request. Any thread. Raises ConnectionFailed on a closed client."""
        if os.getpid() != self._pid:
            raise ConnectionFailed(
                "A client does not survive a fork.", hint="Make a new one in the child process."
            )
        if not self._leave(exchange):
            raise ConnectionFailed("The client is closed.", hint="Make a new one.")

    def tell(self, request: Side) -> None:
        """Send what concerns a running request. Any thread; does nothing where there is none."""
        if os.getpid() == self._pid:
            self._leave(request)

    def close(self) -> None:
        """End the connection and the thread once the daemon has the detached requests; the running
        ones get ConnectionFailed. Idempotent."""
        # After a fork there is no thread, and nobody would ever let go of a lock that was held.
        if os.getpid() == self._pid and not self._end_thread():
            return
        self._waker.close()
        self._woken.close()

    def _end_thread(self) -> bool:
        """False when somebody else does it, or has done it."""
        with self._lock:
            if self._closing:
                return False
            self._closing = True
            self._wake()
        thread = self._thread
        if thread not in {None, threading.current_thread()}:
            thread.join()
        return True

    def _leave(self, work: Exchange | Side) -> bool:
        with self._lock:
            if self._closing:
                return False
            self._work.append(work)
            if self._thread is None:
                # A daemon thread: a program that forgets close() still ends.
                self._thread = threading.Thread(target=self._run, name="glmd-client", daemon=True)
                self._thread.start()
            self._wake()
            return True

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full, so the thread is awake
            self._waker.send(b"\0")

    def _run(self) -> None:
        with zmq.Context(io_threads=1) as context:
            while not self._closing:
                self._wait()
                self._turn(context)
            self._hand_over(context)
            self._lose(ConnectionFailed("The client was closed."), linger_ms=200)

    def _hand_over(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """What outlives the client is still told: cancels, and detached requests, of which the
        first reply says that the daemon has them."""
        end = time.monotonic() + _FAREWELL
        self._turn(context)
        while self._channel is not None and self._channel.connection.owes:
            left = end - time.monotonic()
            if left <= 0:
                return
            self._channel.wait(left)
            self._turn(context)

    def _wait(self) -> None:
        poller = zmq.Poller()
        poller.register(self._woken, zmq.POLLIN)
        patience = None
        if self._channel is not None:
            poller.register(self._channel.socket, zmq.POLLIN)
            poller.register(self._channel.monitor, zmq.POLLIN)
            patience = self._channel.patience()
        poller.poll(None if patience is None else int(patience * 1000) + 1)
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)

    def _turn(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        try:
            self._pump()  # a loss is noticed before new work is given to a dead connection
        except GlmdError as error:
            self._lose(error)
        try:
            while self._work:
                self._do(self._work.popleft(), context)
            self._pump()
        except GlmdError as error:
            self._lose(error)

    def _pump(self) -> None:
        if self._channel is not None:
            self._channel.pump()

    def _do(self, work: Exchange | Side, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        if not isinstance(work, Exchange):
            if self._channel is not None:
                self._channel.connection.tell(work)
            return
        if self._channel is None:
            try:
                self._channel = self._dial(context)
            except GlmdError as error:
                work.put(error)
                return
        self._channel.connection.open(work)

    def _lose(self, error: GlmdError, linger_ms: int = 0) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close(linger_ms)
            channel.connection.lose(error)
