"""What one step computes, planned from what the backend says it can do.

Every running sequence gets its next token in every step; prompts advance by one chunk a step, so no
stream waits for longer than that. Nothing here depends on which backend it is.
"""

from __future__ import annotations

from glmd.bmodel.estimates import Estimates
from glmd.daemon.engine.mixed import Mixed
from glmd.daemon.engine.nets import Nets
from glmd.daemon.engine.work import Scheduler
from glmd.daemon.native._engine import Capabilities, Prefill


def scheduler(can: Capabilities, estimates: Estimates) -> Scheduler:
    """`estimates`: seconds of whole steps by net, of as many as are known."""
    return Mixed() if can.prefill is Prefill.any else Nets(can, estimates)
