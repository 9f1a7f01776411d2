"""The engine child: `python -I -m glmd.daemon.engine FD PAGE`, its end of the socket pair and the
page in which it says what plugin's code it is in."""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback

from glmd import process
from glmd.daemon.engine.inbox import Inbox
from glmd.daemon.engine.loaded import Loaded
from glmd.daemon.engine.loader import load_backend
from glmd.daemon.engine.loop import Loop
from glmd.daemon.engine.messages import Broken, Load, Loading, Ready
from glmd.daemon.engine.outbox import Outbox
from glmd.daemon.engine.plugins import Plugins
from glmd.daemon.native._engine import CancelFlag, Want
from glmd.daemon.plugins.breadcrumb import Breadcrumb
from glmd.errors import Code, GlmdError

# Seconds between two Loading events.
LOADING_INTERVAL = 0.1


def main(fd: int, page: int) -> None:
    process.tie_to_parent()
    connection = socket.socket(fileno=fd)
    inbox = Inbox(CancelFlag())
    outbox = Outbox(connection)
    inbox.listen(connection)
    load, *later = inbox.take(None)
    for command in later:
        inbox.put(command)
    if not isinstance(load, Load):
        raise TypeError(f"the first command is {type(load).__name__}, not Load")
    loaded = _load(load, outbox)
    if loaded is None:
        return
    outbox.put(_ready(load, loaded))
    outbox.flush()
    plugins = Plugins(Breadcrumb(page), load.plugin_memory)
    Loop(loaded.backend, inbox, outbox, plugins, loaded.estimates).run()
    del loaded  # chips are closed before the process ends


def _load(load: Load, outbox: Outbox) -> Loaded | None:
    """The loaded model, or None after telling why there is none."""
    said = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal said
        if done == total or time.monotonic() - said > LOADING_INTERVAL:
            said = time.monotonic()
            outbox.put(Loading(done, total))
            outbox.flush()

    try:
        return load_backend(load, progress)
    except GlmdError as error:
        outbox.put(Broken(error.wire_code, error.message, error.hint))
    except Exception as error:
        traceback.print_exc()
        outbox.put(
            Broken(
                Code.INTERNAL.value,
                f"Loading {load.model} met a fault in glmd: {error!r}.",
                "The daemon's log has the details.",
            )
        )
    outbox.flush()
    return None


def _ready(load: Load, loaded: Loaded) -> Ready:
    can = loaded.backend.capabilities
    return Ready(
        slots=can.slots,
        context=loaded.context,
        vocab=loaded.backend.info.vocab,
        mode=loaded.mode,
        backend=load.backend,
        outputs=[want.name for want in can.outputs if want is not Want.none],
        devices=load.devices,
        model_bytes=loaded.nbytes,
        kv_bytes=loaded.kv_bytes,
        seconds=loaded.seconds,
    )


if __name__ == "__main__":
    status = 1
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # Without the interpreter's own farewell, in which a device library's threads may hang.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
