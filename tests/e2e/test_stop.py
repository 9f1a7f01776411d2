"""The core is the last to go: when it has ended, what it had started is gone (P7)."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

import pytest
from support.daemons import Homes
from support.engine_processes import until

import glmd
from glmd import facts
from glmd.errors import DaemonTimeout


@pytest.mark.parametrize("times", [1, 2])
def test_stopped_while_a_model_is_loaded(homes: Homes, times: int) -> None:
    started = homes.start()
    core = os.pidfd_open(started.pid)
    with glmd.Client() as client:
        with pytest.raises(DaemonTimeout):
            client.reload(timeout=0)
        until(
            client.status,
            lambda status: bool(status.reload) and status.reload.state in {"loading", "done"},
        )
        for _ in range(times):
            with suppress(ProcessLookupError):  # the first one may have been enough by now
                signal.pidfd_send_signal(core, signal.SIGTERM)
            # Equal signals that are pending are one.
            until(lambda: facts.read(started.name), lambda now: not now or now.state == "stopping")
    assert select.select([core], [], [], 30)[0]
    os.close(core)
    homes.check_nothing_left()
