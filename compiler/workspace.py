"""The folder that a bmodel is made in and stays in.

    OUT/STEM/
      STEM.bmodel            with tokenizer.model, tokenizer_config.json, config.json
      manifest.json          last of all: where it is, everything is
      nets/
        build.json           what the nets below are made from and by
        NET/ or NET.ROWS/    log, the compiler's profile, and NET.bmodel until all are combined
        FAMILY.bmodel        nets with the same weights, until all are

A net is there whole or not at all, so that a run goes on where another was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from glmd.checkpoint.source import MANIFEST
from glmd.compiler.build import Build
from glmd.compiler.deploy import LOG
from glmd.compiler.nets import Net
from glmd.compiler.recipes import export_suffix
from glmd.errors import CompileFailed

Identity = Mapping[str, Any]


class Workspace:
    """As a context manager it is this process's alone. Raises CompileFailed where another process
    works in it or where it cannot be made."""

    def __init__(self, out: Path, build: Build) -> None:
        self._build = build
        self.folder = out.absolute() / build.stem
        self.model = self.folder / f"{build.stem}.bmodel"
        self.nets = self.folder / "nets"
        self._identity = self.nets / "build.json"
        self._exported = export_suffix(build)

    def __enter__(self) -> Workspace:
        try:
            self.nets.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise CompileFailed(
                f"Another glmd compiles into {self.folder}.",
                hint="Wait for it, or give another --out.",
            ) from None
        except OSError as error:
            raise CompileFailed(
                f"The folder {self.folder} cannot be made: {error.strerror}.",
                hint="Give another --out.",
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._lock)

    def claim(self, identity: Identity) -> list[str]:
        """Keep what was made from `identity` and forget the rest; the names that differed, none
        where the work goes on or begins. What either does not know differs from nothing."""
        known = self._known()
        differ = [name for name in identity if known.get(name, identity[name]) != identity[name]]
        if differ:
            shutil.rmtree(self.nets)
            self.nets.mkdir()
            for made in (self.model, self.folder / MANIFEST):
                made.unlink(missing_ok=True)
            known = {}
        merged = known | dict(identity)
        if merged != known:
            part = self._identity.with_suffix(".part")
            part.write_text(json.dumps(merged, indent=2) + "\n")
            part.replace(self._identity)
        return differ

    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads(self._identity.read_bytes())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    @property
    def finished(self) -> bool:
        return self.model.is_file() and (self.folder / MANIFEST).is_file()

    def check_finished(self) -> None:
        """Raises CompileFailed where there is no finished bmodel, or one with other options."""
        if not self.finished:
            raise CompileFailed(
                f"There is no finished {self.model}.",
                hint="`glmd compile`, with the same options, makes it.",
            )
        options = self._known().get("options", {})
        for name, wanted in asdict(self._build).items():
            if (made := options.get(name, wanted)) != wanted:
                option = f"--{name.replace('_', '-')}"
                raise CompileFailed(
                    f"{self.model} was made with {option} {made}, not {wanted}.",
                    hint=f"Give {option} {made}, or another --out.",
                )

    def net_folder(self, net: Net) -> Path:
        """Made if need be."""
        folder = self.nets / net.key
        folder.mkdir(exist_ok=True)
        return folder

    def exported(self, net: Net) -> Path:
        """What the compiler starts from."""
        return self.nets / net.key / f"{net.name}{self._exported}"

    def net_model(self, net: Net) -> Path:
        return self.nets / net.key / f"{net.name}.bmodel"

    def family_model(self, family: str) -> Path:
        """Of all its nets."""
        return self.nets / f"{family}.bmodel"

    def family_weights(self, family: str) -> Path:
        """What the exported nets of a family read, unless they hold their weights themselves."""
        return self.nets / f"{family}.npz"

    def log(self, net: Net) -> Path:
        return self.nets / net.key / LOG
