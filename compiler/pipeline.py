"""All nets of a model, from the checkpoint to one bmodel; each step goes on where it was."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from glmd.bmodel.features import read_features
from glmd.bmodel.reader import read_bmodel
from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.build import Build
from glmd.compiler.deploy import PROFILE, combine, deploy_net, quantisation
from glmd.compiler.estimate.profile import read_profile
from glmd.compiler.gate import MemoryGate
from glmd.compiler.manifest import seal
from glmd.compiler.needs import check_room, room_for_tools, tool_memory
from glmd.compiler.nets import Net
from glmd.compiler.parameters import parameters
from glmd.compiler.recipes import check_export, export_net, recipe_nets
from glmd.compiler.toolchain.run import Stopped
from glmd.compiler.toolchain.toolchain import Toolchain
from glmd.compiler.workspace import Workspace
from glmd.errors import CompileFailed

# A small net takes as long as one of that many parameters more than it has: starting the tools.
_START = 2_000_000


class Listener(Protocol):
    """Is told how far the work is, from any thread. Work is counted in parameters."""

    def begin(self, total: int, done: int) -> None: ...
    def started(self, net: str, step: str) -> None: ...
    def finished(self, net: str, work: int) -> None: ...


@dataclass
class Pipeline:
    """`jobs`: nets at once, fewer where memory is short. Every step raises CompileFailed, and
    ModelError where the checkpoint cannot be read."""

    checkpoint: Checkpoint
    build: Build
    workspace: Workspace
    listener: Listener
    jobs: int = 1
    _stop: threading.Event = field(default_factory=threading.Event)
    _exporting: threading.Lock = field(default_factory=threading.Lock)
    _joining: threading.Lock = field(default_factory=threading.Lock)

    @property
    def nets(self) -> list[Net]:
        return recipe_nets(self.checkpoint.config, self.build)

    def export(self, device: str = "cpu") -> None:
        """Every net as the compiler takes it."""
        check_export(self.build)
        missing = [net for net in self._undone() if not self.workspace.exported(net).exists()]
        check_room(self, missing, every_export=True)
        self._each(missing, lambda net: self._export(net, device), of=self.nets)

    def deploy(self, toolchain: Toolchain) -> None:
        """From what was exported to a bmodel of each net."""
        missing = self._undone()
        for net in missing:
            if not self.workspace.exported(net).exists():
                raise CompileFailed(
                    f"{self.workspace.exported(net)} is not there.",
                    hint="`glmd compile export`, with the same options, makes it.",
                )
        check_room(self, missing)
        self._each(missing, lambda net: self._deploy(net, toolchain), of=self.nets)

    def compile(self, toolchain: Toolchain, device: str = "cpu") -> None:
        """Everything."""
        self.make(toolchain, self.nets, device)
        self.combine(toolchain)

    def make(self, toolchain: Toolchain, nets: Sequence[Net], device: str = "cpu") -> None:
        """Export and deploy some of the nets, one by one, so that one export is there for each job
        and not for each net."""

        def work(net: Net) -> None:
            if not self.workspace.exported(net).exists():
                self._export(net, device)
            self._deploy(net, toolchain)

        check_export(self.build)
        missing = [net for net in self._undone() if net in nets]
        check_room(self, missing)
        self._each(missing, work, of=nets)

    def combine(self, toolchain: Toolchain) -> None:
        """One bmodel of all nets, whose own are then deleted, with tokenizer and manifest."""
        workspace, nets = self.workspace, self.nets
        if workspace.finished:
            return
        if missing := self._undone():
            raise CompileFailed(
                f"{len(missing)} of {len(nets)} nets are not compiled, {missing[0].key} first.",
                hint="`glmd compile deploy`, with the same options, compiles them.",
            )
        families = self._families()
        with _disk(workspace.folder):
            for family in families:
                self._join(family, toolchain)
            models = [self._model(family) for family in families]
            if not workspace.model.exists():
                self.listener.started(workspace.model.name, "combine")
                combine(toolchain, models, workspace.model, workspace.nets)
            seal(
                workspace.folder,
                workspace.model,
                self.checkpoint,
                self.build,
                target="bm1684x",
                toolchain=f"tpu_mlir {toolchain.version}",
                quantisation=quantisation(self.build),
                features=asdict(read_features(read_bmodel(workspace.model))),
                nets={net: self._seconds(net) for net in nets},
            )
        for model in models:
            model.unlink(missing_ok=True)

    def _families(self) -> list[list[Net]]:
        found: dict[str, list[Net]] = {}
        for net in self.nets:
            found.setdefault(net.family, []).append(net)
        return list(found.values())

    def _model(self, family: Sequence[Net]) -> Path:
        if len(family) == 1:
            return self.workspace.net_model(family[0])
        return self.workspace.family_model(family[0].family)

    def _join(self, family: Sequence[Net], toolchain: Toolchain) -> None:
        """One bmodel of nets with the same weights once all are there: together they are as large
        as one of them, and apart they would fill a disk."""
        models = [self.workspace.net_model(net) for net in family]
        joined = self._model(family)
        with self._joining:
            if len(family) == 1 or not all(model.exists() for model in models):
                return
            if not joined.exists():
                combine(toolchain, models, joined, self.workspace.nets)
            self.workspace.family_weights(family[0].family).unlink(missing_ok=True)
            for model in models:
                model.unlink()

    def _seconds(self, net: Net) -> float | None:
        path = self.workspace.net_folder(net) / PROFILE
        profile = read_profile(path) if path.exists() else None
        return profile.seconds if profile else None

    def _undone(self) -> list[Net]:
        if self.workspace.model.exists():
            return []
        return [
            net
            for family in self._families()
            for net in family
            if not (self._model(family).exists() or self.workspace.net_model(net).exists())
        ]

    def _each(self, nets: Sequence[Net], work: Callable[[Net], None], *, of: Sequence[Net]) -> None:
        """`work` for each net that is left of some, several at once; the first failure ends them
        all."""
        config = self.checkpoint.config
        sizes = {net.key: parameters(net, config) for net in of}
        total = sum(size + _START for size in sizes.values())
        left = sum(sizes[net.key] + _START for net in nets)
        self.listener.begin(total, total - left)
        gate = MemoryGate(room_for_tools())

        def guarded(net: Net) -> None:
            with (
                gate.take(tool_memory(sizes[net.key], self.build.recipe)),
                _disk(self.workspace.folder),
            ):
                if self._stop.is_set():
                    raise Stopped
                self.workspace.net_folder(net)
                work(net)
            self.listener.finished(net.key, sizes[net.key] + _START)

        with ThreadPoolExecutor(self.jobs, thread_name_prefix="net") as pool:
            futures = [pool.submit(guarded, net) for net in nets]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
        self._stop.clear()
        failures = [f.exception() for f in futures if not f.cancelled() and f.exception()]
        for failure in sorted(failures, key=lambda error: isinstance(error, Stopped)):
            if failure is not None:
                raise failure

    def _export(self, net: Net, device: str) -> None:
        with self._exporting:
            if self._stop.is_set():
                raise Stopped
            self.listener.started(net.key, "export")
            path = self.workspace.exported(net)
            weights = self.workspace.family_weights(net.family)
            export_net(self.checkpoint, net, self.build, path, weights, device)

    def _deploy(self, net: Net, toolchain: Toolchain) -> None:
        deploy_net(
            toolchain,
            net,
            self.build,
            self.workspace.exported(net),
            started=lambda step: self.listener.started(net.key, step),
            stop=self._stop,
        )
        for family in self._families():
            if net in family:
                self._join(family, toolchain)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """An error of the disk as a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            free = shutil.disk_usage(folder).free >> 20
            raise CompileFailed(
                f"The disk of {folder} is full: {free} MiB are left.",
                hint="Make room and run the same command again: it goes on where it was.",
            ) from error
        raise CompileFailed(
            f"{error.filename or folder} cannot be written: {error.strerror or error}.",
            hint="Mend it and run the same command again: it goes on where it was.",
        ) from error
