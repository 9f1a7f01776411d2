"""What a plugin is tested with: docs/plugins.md shows how.

`SamplerHarness` drives a sampler as the daemon does, without one. The fixture `glmd_daemon`, which
pytest finds by itself where glmd is installed, is a real daemon in folders of its own.
"""

from __future__ import annotations

from glmd.testing.harness import Answer, SamplerHarness, softmax
from glmd.testing.statistics import p_value

__all__ = ["Answer", "SamplerHarness", "p_value", "softmax"]
