"""Who may come in by tcp: the clients whose keys are listed, asked with every new connection."""

from __future__ import annotations

import logging
from typing import Any

import zmq
from zmq.auth.asyncio import AsyncioAuthenticator
from zmq.utils import z85

from glmd import keys

log = logging.getLogger(__name__)


class _AllowList:
    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the client with this public key (Z85) may connect."""
        public = z85.decode(key)
        if public in keys.authorized():
            return True
        log.warning("A client was turned away; its key %s is not authorised.", public.hex())
        return False


class Gate:
    """The context's ZAP handler, rfc.zeromq.org/spec/27. It must stand before a tcp endpoint is
    bound: without one libzmq lets in every key."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self._authenticator = AsyncioAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback("*", _AllowList())

    def close(self) -> None:
        self._authenticator.stop()
