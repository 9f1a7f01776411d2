"""One libzmq connection: a DEALER socket, and the monitor that tells when its peer is gone."""

from __future__ import annotations

import time

import zmq
from zmq.utils.monitor import parse_monitor_message

from glmd import keys
from glmd.control import command
from glmd.errors import ConnectionFailed, DaemonNotRunning, DaemonTimeout, GlmdError
from glmd.frontends.python_api._connection import Connection
from glmd.frontends.python_api._endpoint import Endpoint

# Reconnecting is ours: a new socket, a new hello. libzmq's own is put off for an hour and not
# forbidden, since forbidding it discards what was received before the loss.
_RECONNECT_IVL_MS = 3_600_000

_HEARTBEAT_MS = 2_000  # tcp: a peer that vanished without a word is noticed after three of these

# Connected, then thrown out: the keys, on tcp. A local daemon that does so is about to end.
_REFUSED = (
    zmq.Event.DISCONNECTED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)
_LOST = zmq.Event.CLOSED | _REFUSED


class Channel:
    """Carries the frames of `connection` with daemon `name`. Belongs to one thread. `timeout`:
    seconds until the daemon's welcome. Raises GlmdError for an endpoint that is none."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        connection: Connection,
        name: str,
        endpoint: Endpoint,
        timeout: float | None,
    ) -> None:
        self.connection = connection
        self._name = name
        self._endpoint = endpoint
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self.socket = context.socket(zmq.DEALER)
        self.monitor = self.socket.get_monitor_socket(_LOST)
        self.socket.linger = 0
        # The credit of the streams bounds what is on its way, so no high-water mark is needed.
        self.socket.sndhwm = self.socket.rcvhwm = 0
        self.socket.reconnect_ivl = _RECONNECT_IVL_MS
        if not endpoint.is_local:
            self.socket.ipv6 = True
            self.socket.heartbeat_ivl = _HEARTBEAT_MS
            self.socket.heartbeat_timeout = 3 * _HEARTBEAT_MS
        try:
            endpoint.connect(self.socket)
        except BaseException:
            self.close()
            raise

    def patience(self) -> float | None:
        """Seconds for which nothing has to happen."""
        if self.connection.welcome is not None or self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic())

    def wait(self, seconds: float) -> None:
        """Until there is something to pump, for so long at most."""
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self.monitor, zmq.POLLIN)
        patience = self.patience()
        poller.poll(int(1000 * (seconds if patience is None else min(seconds, patience))) + 1)

    def pump(self) -> None:
        """Receive and send what there is, without waiting. Raises GlmdError when the connection is
        of no more use."""
        # The monitor is asked first: whatever was received before a loss is then read behind it.
        lost = self._loss()
        while self.socket.poll(0, zmq.POLLIN):
            frames = self.socket.recv_multipart(zmq.NOBLOCK)
            if len(frames) == 1:
                self.connection.receive(frames[0])
        if lost is not None:
            raise lost
        outbox = self.connection.outbox
        while outbox:
            try:
                self.socket.send(outbox[0], zmq.NOBLOCK)
            except zmq.Again:
                break
            outbox.popleft()
        if self.patience() == 0.0:
            raise DaemonTimeout(
                f"Nobody answered at {self._endpoint.address} within {self._timeout:g} s.",
                hint=self._hint(),
            )

    def close(self, linger_ms: int = 0) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(linger_ms)

    def _loss(self) -> GlmdError | None:
        happened = zmq.Event(0)
        while self.monitor.poll(0):
            message = parse_monitor_message(self.monitor.recv_multipart(zmq.NOBLOCK))
            happened |= zmq.Event(message["event"])
        if not happened & _LOST:
            return None
        if self.connection.welcome is not None:
            return ConnectionFailed(
                "The connection to the daemon was lost.",
                hint=f"{self._command('status')} says whether it still runs, "
                f"{self._command('logs')} why not.",
            )
        where = self._endpoint.address
        if happened & _REFUSED and not self._endpoint.is_local:
            return ConnectionFailed(f"{where} refused the connection.", hint=self._hint())
        return DaemonNotRunning(
            f"No daemon listens at {where}.", hint=f"Start one with {self._command('start')}."
        )

    def _command(self, verb: str) -> str:
        return f"`{command(verb, self._name)}`"

    def _hint(self) -> str:
        if self._endpoint.is_local:
            return f"{self._command('status')} and {self._command('logs')} say what it is doing."
        public = keys.own("client").public.hex()
        return (
            "Its key must be the one in known_daemons here, and its authorized_clients must hold "
            f"{public}."
        )
