"""Property tests give the same examples in every run, and no example has a time limit of its own:
a machine that is busy must not fail them. Each test as a whole still has its time-out."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("glmd", derandomize=True, deadline=None, database=None)
settings.load_profile("glmd")
