"""Replicas of the model: where they run, who runs on them, and what happens when one dies."""

from glmd.daemon.pool.job import Job, Listener
from glmd.daemon.pool.pool import Pool
from glmd.daemon.pool.spec import PoolSpec, Timeouts
from glmd.daemon.pool.ticket import Ticket

__all__ = ["Job", "Listener", "Pool", "PoolSpec", "Ticket", "Timeouts"]
