"""What the daemon says of itself: to `glmd status`, and to those who subscribed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from glmd.daemon.models.models import Models
from glmd.daemon.plugins.manager import Plugins
from glmd.facts import DaemonFacts
from glmd.wire.replies import ReplicaStatus, StatusReply


class Describer:
    """`facts` gives the present ones."""

    def __init__(self, models: Models, plugins: Plugins, facts: Callable[[], DaemonFacts]) -> None:
        self._models = models
        self._plugins = plugins
        self._facts = facts
        self._started = time.monotonic()

    def status(self, request_id: str, clients: int, clients_served: int) -> StatusReply:
        facts, models = self._facts(), self._models
        model = self.model()
        return StatusReply(
            id=request_id,
            server=facts.server,
            name=facts.name,
            pid=facts.pid,
            boot_id=facts.boot_id,
            uptime=time.monotonic() - self._started,
            endpoints=facts.endpoints,
            server_key=facts.server_key,
            state=model["state"],
            backend=model["backend"],
            simulated=model["simulated"],
            model=model["name"],
            model_path=model["path"],
            mode=model["mode"],
            context=model["context"],
            placement=models.shown.replicas.placement,
            replicas=models.shown.replicas.replicas(),
            queued=models.queued,
            running=models.running,
            clients=clients,
            clients_served=clients_served,
            requests_served=models.requests_served,
            model_loads=models.model_loads,
            model_identity=model["identity"],
            leaving=len(models.leaving),
            reload=models.last,
        )

    def model(self) -> dict[str, Any]:
        """Facts of the topic "model"."""
        shown = self._models.shown
        loaded, config = shown.replicas.model, shown.plan.config
        reload = self._models.last
        return {
            "state": self._state(shown.replicas.replicas()),
            "name": shown.plan.name,
            "path": str(config.model),
            "mode": loaded.mode if loaded else config.mode or "",
            "backend": loaded.backend if loaded else config.backend,
            "simulated": config.simulate,
            "context": loaded.context if loaded else config.context,
            "identity": shown.plan.pin.identity,
            "reload": msgspec.structs.asdict(reload) if reload else None,
        }

    def replicas(self) -> dict[str, Any]:
        """Facts of the topic "replicas". What changes with every token is left to `status`."""
        told = ("index", "state", "pid", "slots", "model_loads", "error")
        replicas = self._models.shown.replicas.replicas()
        return {"replicas": [{field: getattr(one, field) for field in told} for one in replicas]}

    def plugins(self) -> dict[str, Any]:
        """Facts of the topic "plugins"."""
        return {"plugins": msgspec.to_builtins(self._plugins.infos())}

    def queue(self) -> dict[str, Any]:
        """Facts of the topic "queue"."""
        return {"queued": self._models.queued, "running": self._models.running}

    def _state(self, replicas: list[ReplicaStatus]) -> Any:
        states = {replica.state for replica in replicas}
        if self._facts().state == "stopping":
            return "stopping"
        if self._models.entrance.closed:
            return "loading"
        if states == {"ready"}:
            return "ready"
        if states <= {"failed", "stopped"}:
            return "failed"
        return "loading" if states <= {"loading", "failed"} else "degraded"
