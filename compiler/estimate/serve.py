"""What the profiles of the serve recipe's nets say of the work that users give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from glmd.compiler.deploy import PROFILE
from glmd.compiler.estimate.launches import Case, Launch, plain, read_cases
from glmd.compiler.estimate.profile import Profile, read_profile
from glmd.compiler.estimate.sample import check_devices
from glmd.compiler.nets import HEADS
from glmd.compiler.pipeline import Pipeline
from glmd.compiler.toolchain.toolchain import Toolchain

# Of one launch, seconds: what the host and the runtime take for it. Not known for a card.
LAUNCH_SECONDS = 1e-4

_DECODE = "decode "


@dataclass(frozen=True)
class ServeEstimate:
    """`nets`: those of one layer and the heads. `cases`: what is launched for a piece of work."""

    nets: Mapping[Launch, Profile | None]
    cases: Mapping[str, Case]
    layers: int

    def seconds(self, case: str, launch_seconds: float = LAUNCH_SECONDS) -> float:
        return self.cases[case].seconds(self.nets, self.layers, launch_seconds)

    def tokens_per_second(self, case: str, launch_seconds: float = LAUNCH_SECONDS) -> float | None:
        """Of all conversations together; None for a case that does not continue any."""
        if not case.startswith(_DECODE):
            return None
        return int(case.removeprefix(_DECODE)) / self.seconds(case, launch_seconds)

    def possible(self) -> list[str]:
        """The cases for which there are nets: a short cache has not all lengths."""
        return [
            name
            for name, case in self.cases.items()
            if all(launch in self.nets for launch in case.layers)
        ]


def serve_estimate(pipeline: Pipeline, toolchain: Toolchain) -> ServeEstimate:
    """The first layer stands for all, which are alike. The embedding and the heads that choose a
    token count as a launch. A later compile uses what is made here.

    Raises CompileFailed, and ModelError where the checkpoint cannot be read.
    """
    check_devices(pipeline.build)
    unimportant = ("embedding", *HEADS)
    nets = [n for n in pipeline.nets if n.kind not in unimportant and n.layer in (None, 0)]
    pipeline.make(toolchain, nets)
    profiles = {
        (plain(net.name)[0], net.rows or 1): read_profile(
            pipeline.workspace.net_folder(net) / PROFILE
        )
        for net in nets
    }
    return ServeEstimate(profiles, read_cases(), pipeline.checkpoint.config.num_layers)
