"""What is known of a model before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from glmd import paths
from glmd.bmodel.features import Features
from glmd.checkpoint.identity import identity
from glmd.daemon.config import Config, resolve
from glmd.daemon.models.compiled import check_compiled
from glmd.daemon.models.facts import ModelFacts, model_facts, open_any
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
    facts: ModelFacts
    pin: Pin

    @property
    def tokenizer(self) -> Tokenizer:
        return self.facts.tokenizer

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
            model_devices=self.facts.devices,
            simulate=config.simulate,
            libsophon=str(config.libsophon or ""),
            vocab=self.tokenizer.vocab,
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
    model = open_any(config.model, config.backend)
    if isinstance(model, Features):
        check_compiled(config, model)
    pin = Pin(config.model, paths.runtime_dir(config.name))
    try:
        facts = model_facts(config.model, model, config.tokenizer)
        if identity(config.model) != pin.identity:
            raise ModelError(
                f"{config.model} changed while it was looked at.",
                hint="Try again when whoever writes to it has finished.",
            )
    except BaseException:
        pin.close()
        raise
    return Plan(said, config, facts, pin)
