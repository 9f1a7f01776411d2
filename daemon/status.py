"""What the daemon says of itself: to `glmd status`, and to those who subscribed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from glmd.daemon.config import Config
from glmd.daemon.plugins.manager import Plugins
from glmd.daemon.pool.pool import Pool
from glmd.facts import DaemonFacts
from glmd.wire.replies import ReplicaStatus, StatusReply


class Describer:
    """`facts` gives the present ones."""

    def __init__(
        self, config: Config, pool: Pool, plugins: Plugins, facts: Callable[[], DaemonFacts]
    ) -> None:
        self._config = config
        self._pool = pool
        self._plugins = plugins
        self._facts = facts
        self._started = time.monotonic()

    def status(self, request_id: str, clients: int, clients_served: int) -> StatusReply:
        facts, replicas = self._facts(), self._pool.replicas()
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
            placement=self._pool.placement,
            replicas=replicas,
            queued=self._pool.queued,
            running=self._pool.running,
            clients=clients,
            clients_served=clients_served,
            requests_served=sum(replica.requests_served for replica in replicas),
            model_loads=sum(replica.model_loads for replica in replicas),
        )

    def model(self) -> dict[str, Any]:
        """Facts of the topic "model"."""
        loaded, config = self._pool.model, self._config
        return {
            "state": self._state(self._pool.replicas()),
            "name": config.model.name if config.model.is_dir() else config.model.stem,
            "path": str(config.model),
            "mode": loaded.mode if loaded else config.mode or "",
            "backend": loaded.backend if loaded else config.backend,
            "simulated": config.simulate,
            "context": loaded.context if loaded else config.context,
        }

    def replicas(self) -> dict[str, Any]:
        """Facts of the topic "replicas". What changes with every token is left to `status`."""
        told = ("index", "state", "pid", "slots", "model_loads", "error")
        replicas = self._pool.replicas()
        return {"replicas": [{field: getattr(one, field) for field in told} for one in replicas]}

    def plugins(self) -> dict[str, Any]:
        """Facts of the topic "plugins"."""
        return {"plugins": msgspec.to_builtins(self._plugins.infos())}

    def queue(self) -> dict[str, Any]:
        """Facts of the topic "queue"."""
        return {"queued": self._pool.queued, "running": self._pool.running}

    def _state(self, replicas: list[ReplicaStatus]) -> Any:
        states = {replica.state for replica in replicas}
        if self._facts().state == "stopping":
            return "stopping"
        if states == {"ready"}:
            return "ready"
        if states <= {"failed", "stopped"}:
            return "failed"
        return "loading" if states <= {"loading", "failed"} else "degraded"
