"""The files that a model was loaded from, kept for when it has to be loaded again."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from glmd.checkpoint.identity import identity, model_files
from glmd.errors import ModelError


class Pin:
    """Keeps a model's files open. When an engine child dies, the next one must load the very same
    weights, and others may have been given their names by then. `identity` names them."""

    def __init__(self, model: Path, folder: Path) -> None:
        """`folder`: where to put links when they are needed. Raises ModelError."""
        self.identity = identity(model)
        self._model = model
        self._is_folder = model.is_dir()
        self._folder = folder
        self._links: Path | None = None
        self._files: dict[str, int] = {}
        try:
            for file in model_files(model):
                self._files[file.name] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self.close()
            raise ModelError(f"{error.filename} cannot be opened: {error.strerror}.") from None

    def path(self) -> Path:
        """Where the model is now: its own path, or links to its files where those are not behind
        it any more. Raises ModelError when they were written to."""
        for path in (self._own, self._linked):
            try:
                if identity(found := path()) == self.identity:
                    return found
            except (ModelError, OSError):
                continue
        raise ModelError(
            f"{self._model} was overwritten while it was served, so it cannot be loaded again as "
            "it was.",
            hint="`glmd reload` loads what is there now. A new model is best put beside the old "
            "one and then renamed over it.",
        )

    def close(self) -> None:
        for fd in self._files.values():
            os.close(fd)
        self._files = {}
        if self._links is not None:
            shutil.rmtree(self._links, ignore_errors=True)
            self._links = None

    def _own(self) -> Path:
        return self._model

    def _linked(self) -> Path:
        """A folder like the model's, of links to the open files of this process: Linux opens the
        file behind such a link even when it has no name any more."""
        if self._links is None:
            self._links = Path(tempfile.mkdtemp(prefix="model-", dir=self._folder))
            for name, fd in self._files.items():
                (self._links / name).symlink_to(f"/proc/{os.getpid()}/fd/{fd}")
        return self._links if self._is_folder else self._links / self._model.name
