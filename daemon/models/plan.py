"""What is known of a model before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from glmd import paths
from glmd.checkpoint.identity import identity
from glmd.checkpoint.source import open_model
from glmd.daemon.config import Config, resolve
from glmd.daemon.models.pin import Pin
from glmd.daemon.pool.spec import PoolSpec
from glmd.daemon.tokenizer.tokenizer import Tokenizer
from glmd.errors import ModelError
from glmd.settings import DaemonSettings


@dataclass(frozen=True)
class Plan:
    """`said`: what was asked for; `config`: what that comes to. `pin`: the model's files."""

    said: DaemonSettings
    config: Config
    tokenizer: Tokenizer
    pin: Pin

    @property
    def name(self) -> str:
        """Of the model."""
        model = self.config.model
        return model.name if model.is_dir() else model.stem

    @property
    def spec(self) -> PoolSpec:
        config = self.config
        return PoolSpec(
            name=config.name,
            model=config.model,
            backend=config.backend,
            mode=config.mode,
            context=config.context,
            slots=config.slots,
            threads=config.threads,
            replicas=config.replicas,
            devices=config.devices,
            simulate=config.simulate,
            max_queue=config.max_queue,
            vocabulary=self.tokenizer.vocab_bytes,
            plugin_memory=config.plugin_memory << 20,
        )


def make_plan(said: DaemonSettings) -> Plan:
    """Settle what `said` and config.toml leave open, and look at the model's files, so that what is
    wrong with them is told before an engine child has to. No device is touched.

    Raises StartFailed and ModelError.
    """
    config = resolve(said)
    model = open_model(config.model)
    pin = Pin(config.model, paths.runtime_dir(config.name))
    try:
        if config.tokenizer is not None:
            tokenizer = Tokenizer.load(config.tokenizer)
        else:
            tokenizer = Tokenizer(model.tokenizer(), f"of {config.model}")
        tokenizer.check_fits(model.config.padded_vocab_size)
        if identity(config.model) != pin.identity:
            raise ModelError(
                f"{config.model} changed while it was looked at.",
                hint="Try again when whoever writes to it has finished.",
            )
    except BaseException:
        pin.close()
        raise
    return Plan(said, config, tokenizer, pin)
