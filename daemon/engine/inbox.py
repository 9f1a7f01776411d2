"""Commands from the core. A thread of their own reads them, so that a cancel can end a forward; the
loop reads them too, so that what has arrived when a step begins counts for that step."""

from __future__ import annotations

import os
import select
import socket
import threading
import traceback
from collections.abc import Iterable

from glmd.daemon.engine import transport
from glmd.daemon.engine.messages import AnyCommand, Cancel, Stop
from glmd.daemon.native._engine import CancelFlag

# (request, choice): who gets something out of the running forward.
Owner = tuple[int, int]


class Inbox:
    """Queue between the reading thread and the loop.

    `cancel` is set while a forward runs from which nobody gets anything any more.
    """

    def __init__(self, cancel: CancelFlag) -> None:
        self.cancel = cancel
        self._arrived = threading.Condition()
        self._pending: list[AnyCommand] = []
        self._owners: set[Owner] = set()
        self._connection: socket.socket | None = None
        self._reading = threading.Lock()
        self._decoder = transport.commands()

    def listen(self, connection: socket.socket) -> None:
        """Take commands from the core. The end of the stream means that it is gone: the process
        ends at once, in whatever it is doing."""
        self._connection = connection
        threading.Thread(target=self._attend, name="commands", daemon=True).start()

    def put(self, command: AnyCommand) -> None:
        with self._arrived:
            self._pending.append(command)
            if self._owners:
                self._disown(command)
            self._arrived.notify()

    def take(self, patience: float | None) -> list[AnyCommand]:
        """All commands, in order; waits up to `patience` seconds (None: for ever) for the first."""
        self._fetch()
        with self._arrived:
            if not self._pending and patience != 0:
                self._arrived.wait(patience)
            taken, self._pending = self._pending, []
        return taken

    def begin(self, owners: Iterable[Owner]) -> None:
        """A forward starts. A cancel that has already arrived counts, one of the past does not."""
        with self._arrived:
            self.cancel.clear()
            self._owners = set(owners)
            for command in self._pending:
                self._disown(command)

    def end(self) -> None:
        with self._arrived:
            self._owners = set()

    def _disown(self, command: AnyCommand) -> None:
        if isinstance(command, Stop):
            self._owners.clear()
        elif isinstance(command, Cancel):
            self._owners = {
                (id, choice)
                for id, choice in self._owners
                if id != command.id or command.choice not in {None, choice}
            }
        if not self._owners:
            self.cancel.set()

    def _attend(self) -> None:
        poller = select.poll()
        if self._connection is not None:
            poller.register(self._connection, select.POLLIN)
        while True:
            poller.poll()
            self._fetch()

    def _fetch(self) -> None:
        """Read what is there, in either thread."""
        if self._connection is None:
            return
        try:
            with self._reading:
                while data := self._connection.recv(1 << 16, socket.MSG_DONTWAIT):
                    for command in self._decoder.feed(data):
                        self.put(command)
        except BlockingIOError:
            return
        except ConnectionError:
            pass
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
