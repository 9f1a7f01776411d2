"""A bmodel on the simulator of TPU-MLIR, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmd.compiler.toolchain.run import LAST_LINES
from glmd.compiler.toolchain.toolchain import Toolchain
from glmd.errors import CompileFailed

_CHILD = Path(__file__).with_name("simulator_child.py")
_FIRMWARE = "libcmodel_bm1684x.so"


class Simulator:
    """As a context manager; `log` gets what the simulator prints."""

    def __init__(self, toolchain: Toolchain, model: Path, log: Path) -> None:
        self._toolchain = toolchain
        self._model = model
        self._log = log

    def __enter__(self) -> Simulator:
        self._folder = tempfile.TemporaryDirectory(prefix="glmd-simulator-")
        receive, send = os.pipe()
        firmware = str(self._toolchain.library / _FIRMWARE)
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [self._toolchain.python, _CHILD, self._model, str(send)],
                env=self._toolchain.environment() | {"TPUKERNEL_FIRMWARE_PATH": firmware},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                pass_fds=[send],
                start_new_session=True,
            )
        os.close(send)
        self._answers = os.fdopen(receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._child.kill()
        self._child.communicate()
        self._answers.close()
        self._folder.cleanup()

    def run(self, net: str, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs of one launch of a net that has a stage for `inputs`. Raises CompileFailed
        where the simulator dies."""
        given = Path(self._folder.name, "inputs.npz")
        path = Path(self._folder.name, "outputs.npz")
        np.savez(given, *inputs)
        try:
            print(net, given, path, sep="\t", file=self._child.stdin, flush=True)
            answer = self._answers.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise self._died(net)
        outputs = np.load(path)
        return [outputs[name] for name in outputs.files]

    def _died(self, net: str) -> CompileFailed:
        code = self._child.wait()
        lines = self._log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        tail = "\n".join(f"    {line}" for line in lines)
        return CompileFailed(
            f"{net}: the simulator ended with {code}. The end of {self._log}:\n{tail}",
            hint="Is the bmodel whole, and made for BM1684X? `glmd compile info` reads it.",
        )
