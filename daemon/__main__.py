"""The daemon's process: `python -I -m glmd.daemon SETTINGS --lock-fd N [--ready-fd N]`.

glmd.control starts it; SETTINGS is a DaemonSettings as JSON. With --ready-fd it goes into the
background and tells its starter through that pipe how it went.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import os
import resource
import sys

import msgspec

from glmd.control import command
from glmd.errors import GlmdError, StartFailed
from glmd.lock import Lock
from glmd.settings import DaemonSettings

DESCRIPTORS = 65536  # a client takes one

log = logging.getLogger("glmd.daemon")


def main() -> int:
    """Returns the exit code: 0 when told to stop, 1 when the daemon could not serve."""
    parser = argparse.ArgumentParser(prog="glmd.daemon")
    parser.add_argument("settings")
    parser.add_argument("--lock-fd", type=int, required=True)
    parser.add_argument("--ready-fd", type=int)
    arguments = parser.parse_args()
    if arguments.ready_fd is not None and os.fork():
        # The starter reaps this process at once, and init the daemon one day. Nothing is loaded
        # yet that a fork could harm.
        os._exit(0)
    os.umask(0o077)
    faulthandler.enable()
    # The event loop gives up the GIL with every call of the socket; a thread that tokenises a long
    # text would keep it for 5 ms each time.
    sys.setswitchinterval(0.0005)
    # On a UNIX socket libzmq 4.3.5 aborts the process when accept(2) finds no free descriptor.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, DESCRIPTORS), most))
    Lock.inherited(arguments.lock_fd).sign()
    said = msgspec.json.decode(arguments.settings, type=DaemonSettings)
    return run(said, arguments.ready_fd)


def run(said: DaemonSettings, ready_fd: int | None) -> int:
    # Imported behind the fork and the lock.
    from glmd.daemon.core import failed_facts, serve
    from glmd.daemon.lifecycle.starter import Starter

    starter = Starter(ready_fd)
    try:
        asyncio.run(serve(said, starter))
    except GlmdError as error:
        log.error("%s", error)
        starter.settled(failed_facts(said.name, error))
        return 1
    except Exception as error:
        log.exception("A fault in glmd ends the daemon.")
        fault = StartFailed(
            f"A fault in glmd ended the daemon: {error!r}.",
            hint=f"`{command('logs', said.name)}` says more.",
        )
        starter.settled(failed_facts(said.name, fault))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
