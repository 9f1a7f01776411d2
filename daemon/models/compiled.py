"""Settings that were fixed when a bmodel was compiled, or are of the CPU backend alone."""

from __future__ import annotations

from glmd.bmodel.features import Features
from glmd.daemon.config import Config
from glmd.errors import ModelError


def check_compiled(config: Config, bmodel: Features) -> None:
    """Raises ModelError for what was asked for and the bmodel cannot give. A shorter context it
    can; how many replicas there are, placement decides."""
    mode = bmodel.quantisation.mode if bmodel.quantisation else None
    if config.mode not in (None, mode):
        was = f"was compiled as {mode}" if mode else "does not tell how it was compiled"
        raise ModelError(
            f"{config.model} {was} and cannot be loaded as {config.mode}.",
            hint="Leave --mode out, or compile the checkpoint again.",
        )
    if config.context > bmodel.seq_length:
        raise ModelError(
            f"{config.model} was compiled for {bmodel.seq_length} tokens and cannot have a "
            f"context of {config.context}.",
            hint="Leave --context out, or compile the checkpoint with another --seq-length.",
        )
    if config.threads:
        raise ModelError(
            f"{config.model} runs on chips, and --threads {config.threads} is for the CPU backend.",
            hint="Leave --threads out, in config.toml too.",
        )
