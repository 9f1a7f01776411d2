"""One reload: look at the new model, load it, and let it have the requests that come."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from glmd.daemon.models.plan import Plan, make_plan
from glmd.daemon.pool.spec import ALONE, Beside
from glmd.errors import Code, GlmdError, InvalidRequest, ModelError, StartFailed
from glmd.settings import DaemonSettings
from glmd.wire.replies import ReloadState, ReloadStatus

if TYPE_CHECKING:
    from glmd.daemon.models.models import Models, Serving

log = logging.getLogger(__name__)


class Reload:
    """Beside the old model where that is possible: it serves until the new one does. Else in its
    place: those who come wait, the old model answers what it has accepted and is unloaded, the new
    one is loaded, and should that fail the old one again.

    Either way a request is answered by the model it was accepted for. `run` returns why the new
    model does not serve, None when it does.
    """

    def __init__(self, models: Models, said: DaemonSettings) -> None:
        self._models = models
        self._said = said
        self._began = time.monotonic()
        self._status = ReloadStatus(
            state="checking", model_path=said.model or "", started=time.time()
        )

    async def run(self) -> GlmdError | None:
        self._tell("checking")
        try:
            await self._run()
        except GlmdError as error:
            log.error("The reload failed: %s", error)
            self._tell("failed", error=error)
            return error
        except Exception as error:
            log.exception("The reload met a fault.")
            fault = GlmdError(f"The reload met a fault in glmd: {error!r}.")
            self._tell("failed", error=fault)
            return fault
        log.info("%s serves.", self._status.model_path)
        self._tell("done")
        return None

    async def _run(self) -> None:
        try:
            plan = await asyncio.to_thread(make_plan, self._said)
        except StartFailed as error:  # which is never sent
            raise InvalidRequest(error.message, hint=error.hint) from None
        self._status = replace(self._status, model_path=str(plan.config.model))
        served = False
        try:
            if self._may_be_beside(plan):
                served = await self._beside(plan)
            if not served:
                await self._in_place(plan)
                served = True
        finally:
            if not served:
                plan.pin.close()

    def _may_be_beside(self, plan: Plan) -> bool:
        """Two processes on one card can wedge it; memory is the engine child's to find out."""
        used = {device for one in self._models.all for device in one.plan.config.devices}
        return not used & set(plan.config.devices)

    async def _beside(self, plan: Plan) -> bool:
        """False when there is no memory for both."""
        models = self._models
        new = models.make(plan)
        reserved = sum(one.replicas.promised for one in models.all)
        slots = sum(status.slots for status in models.present.replicas.replicas())
        beside = Beside(reserved, slots // len(new.replicas.replicas()))
        try:
            await self._load(new, beside)
        except ModelError as error:
            if error.code is Code.OUT_OF_MEMORY:
                log.info("There is no memory for two models: %s", error.message)
                return False
            raise
        models.let_leave(models.present_is(new))
        return True

    async def _in_place(self, plan: Plan) -> None:
        """Raises why the new model does not serve, when the old one does again or has failed
        too."""
        models = self._models
        new, old = models.make(plan), models.present
        models.entrance.close()
        try:
            self._tell("draining")
            await models.drained()
            await models.unload(old)
            try:
                await self._load(new)
            except BaseException as error:
                models.present = models.make(old.plan)
                if isinstance(error, GlmdError):
                    await self._restore(models.present)
                raise
        except BaseException:
            models.present_is(models.present)
            raise
        models.present_is(new)
        old.plan.pin.close()

    async def _restore(self, old: Serving) -> None:
        self._tell("restoring")
        await old.replicas.start()
        try:
            await old.replicas.ready()
        except GlmdError as error:
            log.error("The old model cannot be loaded again: %s", error)

    async def _load(self, new: Serving, beside: Beside = ALONE) -> None:
        """Raises why it cannot be; nothing is left of it then."""
        self._tell("loading")
        self._models.coming = new
        self._models.entrance.expect(new)
        try:
            await new.replicas.start(beside)
            await new.replicas.ready()
        except BaseException:
            self._models.coming = None
            self._models.entrance.expect(self._models.present)
            await new.replicas.stop(0)
            raise

    def _tell(self, state: ReloadState, error: GlmdError | None = None) -> None:
        self._status = replace(
            self._status,
            state=state,
            seconds=round(time.monotonic() - self._began, 3),
            code=error.wire_code if error else "",
            error=str(error or ""),
        )
        self._models.tell(self._status)
