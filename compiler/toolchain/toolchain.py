"""An installed TPU-MLIR and how its tools are called."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from glmd.errors import CompileFailed

# As the vendor's package and its docker image lay it out below TPUC_ROOT.
TRANSFORM = Path("python/tools/model_transform.py")
DEPLOY = Path("python/tools/model_deploy.py")
MODEL_TOOL = Path("bin/model_tool")

STUBS = Path(__file__).parent / "stubs"

# The newest that the recipes were tried with, and what `glmd toolchain install` installs.
VERSION = "1.30.2"

_PROBE_SECONDS = 120

_PROBE = """
import importlib.util, json, sys
missing = [name for name in ("torch", "onnxruntime_extensions")
           if importlib.util.find_spec(name) is None]
import pymlir
print(json.dumps({"version": pymlir.__version__, "missing": missing}))
"""


@dataclass(frozen=True)
class Toolchain:
    """`root`: what the vendor calls TPUC_ROOT. `python`: the interpreter that its modules are built
    for. `missing`: modules that its tools import without using them, and that are not there."""

    root: Path
    python: Path
    version: str
    missing: tuple[str, ...]

    @classmethod
    def open(cls, root: Path, python: Path) -> Toolchain:
        """Ask an installed toolchain what it is. Raises CompileFailed if it does not run."""
        try:
            answer = subprocess.run(
                [python, "-c", _PROBE],
                env=_environment(root, python, ()),
                capture_output=True,
                text=True,
                timeout=_PROBE_SECONDS,
                check=True,
            )
            facts = json.loads(answer.stdout.splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            raise CompileFailed(
                f"The TPU-MLIR at {root} does not run with {python}: {said[-1] if said else '?'}.",
                hint="`glmd toolchain install` installs one that does.",
            ) from error
        version = facts["version"].lstrip("v").split("-")[0]
        return cls(root, python, version, tuple(facts["missing"]))

    def check_tools(self) -> None:
        """Start the programs that are no Python, which a C library that does not fit would end.
        Raises CompileFailed."""
        for program in ("tpuc-opt", "model_tool"):
            done = subprocess.run(
                [self.root / "bin" / program, "--version"],
                env=self.environment(),
                capture_output=True,
                text=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
            if done.returncode != 0:
                said = (done.stderr or done.stdout).strip().splitlines()
                raise CompileFailed(
                    f"{self.root / 'bin' / program} does not run "
                    f"(exit code {done.returncode}): {said[-1] if said else 'it says nothing'}.",
                    hint="`glmd toolchain install` installs a TPU-MLIR whose tools do.",
                )

    def environment(self) -> dict[str, str]:
        """For every process of the toolchain; what the tools need and nothing of ours."""
        return _environment(self.root, self.python, self.missing)

    def transform(self) -> list[str]:
        """The command that model_transform is."""
        return [str(self.python), str(self.root / TRANSFORM)]

    def deploy(self) -> list[str]:
        return [str(self.python), str(self.root / DEPLOY)]

    def model_tool(self) -> list[str]:
        return [str(self.root / MODEL_TOOL)]

    @property
    def library(self) -> Path:
        """The folder with libbmrt, libbmlib and the simulator."""
        return self.root / "lib"


def _environment(root: Path, python: Path, missing: tuple[str, ...]) -> dict[str, str]:
    # What the vendor's envsetup.sh has put on these paths stays; what is there otherwise is ours.
    prepared = os.environ if "TPUC_ROOT" in os.environ else {}

    def path(*entries: object) -> str:
        return os.pathsep.join(str(entry) for entry in entries if entry)

    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
    }
    stubs = [STUBS / name for name in missing]
    modules = [root, root / "python", root / "customlayer/python", _package_folder(root)]
    library = root / "lib"
    libraries = [library, library / "capi", library / "third_party"]
    programs = [root / "bin", root / "python/tools", python.parent]
    return inherited | {
        "TPUC_ROOT": str(root),
        "PATH": path(*programs, os.environ.get("PATH", os.defpath)),
        "PYTHONPATH": path(*stubs, *modules, prepared.get("PYTHONPATH")),
        "LD_LIBRARY_PATH": path(*libraries, prepared.get("LD_LIBRARY_PATH")),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "4"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
    }


def _package_folder(root: Path) -> Path | None:
    """The folder from which `import tpu_mlir` works, where the root is that package."""
    return root.parent if root.name == "tpu_mlir" else None
