"""What the profiles of single nets say of a whole model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from glmd.compiler.estimate.profile import Profile
from glmd.errors import CompileFailed

# Stands beside every number that comes from here.
LABEL = "compiler estimate"

Runs = Mapping[str, int]


@dataclass(frozen=True)
class Estimate:
    """`nets`: by name, None where shapes are dynamic, which the compiler does not time. `token` and
    `prompt`: how often each net runs for one more token, and for the first one behind a prompt.

    Launches, the host and the embedding, which moves a few rows, are in none of the sums.
    """

    nets: Mapping[str, Profile | None]
    token: Runs
    prompt: Runs

    @property
    def token_seconds(self) -> float:
        return self._seconds(self.token)

    @property
    def tokens_per_second(self) -> float:
        return 1 / self.token_seconds

    @property
    def first_token_seconds(self) -> float:
        return self._seconds(self.prompt)

    def _seconds(self, runs: Runs) -> float:
        total = 0.0
        for name, count in runs.items():
            profile = self.nets.get(name)
            if profile is None:
                raise CompileFailed(
                    f"TPU-MLIR left no profile of {name}.", hint="Compile it again."
                )
            total += count * profile.seconds
        return total
