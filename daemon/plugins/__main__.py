"""The plugin host: `python -I -m glmd.daemon.plugins FD`, FD being its end of a socket pair.

`--check FILE` looks one file over instead and prints what it is as JSON; no daemon is needed.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from pathlib import Path

import msgspec

from glmd import process
from glmd.daemon.engine import transport
from glmd.daemon.plugins.checking import check
from glmd.daemon.plugins.hosting import Hosting
from glmd.daemon.plugins.messages import AnyHostCommand, Check, Checked, HostEvent
from glmd.discovery import read_file


def main(fd: int) -> None:
    process.tie_to_parent()
    connection = socket.socket(fileno=fd)
    decoder = transport.Decoder(msgspec.msgpack.Decoder(AnyHostCommand))
    sending = threading.Lock()

    def put(event: HostEvent) -> None:
        with sending:
            connection.sendall(transport.encode(event))

    hosting = Hosting(put)
    while data := connection.recv(1 << 16):
        for command in decoder.feed(data):
            if isinstance(command, Check):
                put(check(command.source))
            else:
                hosting.obey(command)


def check_file(path: Path) -> Checked:
    source = read_file(path)
    return Checked(error=source.problem) if source.problem else check(source)


if __name__ == "__main__":
    status = 1
    try:
        if sys.argv[1] == "--check":
            # What the plugin prints is not the answer.
            answer = os.dup(1)
            os.dup2(2, 1)
            os.write(answer, msgspec.json.encode(check_file(Path(sys.argv[2]))))
        else:
            main(int(sys.argv[1]))
        status = 0
    except SystemExit as leave:
        status = int(leave.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        # Without the interpreter's own farewell: a plugin's threads may not let it go.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
