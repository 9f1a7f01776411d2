"""Installing TPU-MLIR into a Python environment of its own, and taking it away again.

It is published for Python 3.10 alone and pins libraries that nothing else should have to share. The
package is then mended in two ways: it brings the C library of the system it was built on, with
which its tools crash on every other, and its programs are not executable.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from glmd import paths
from glmd.compiler.toolchain.find import MARKER, PACKAGE, PYTHON, installed_root
from glmd.compiler.toolchain.toolchain import VERSION, Toolchain
from glmd.errors import CompileFailed

# What its tools import for our nets, in the versions that were tried together. Its own list of
# dependencies is ten times as long: all of it comes with `pip install tpu_mlir`, several GB.
PACKAGES = (
    f"tpu_mlir=={VERSION}",
    "coloredlogs==15.0.1",
    "filelock==4.1.0",
    "flatbuffers==25.12.19",
    "humanfriendly==10.0",
    "mpmath==1.4.1",
    "narwhals==2.29.0",
    "numpy==1.24.3",
    "onnx==1.14.1",
    "onnxruntime==1.16.3",
    "onnxsim==0.4.17",
    "opencv-python-headless==5.0.0.93",
    "packaging==26.4",
    "pillow==12.3.0",
    "plotly==7.1.0",
    "protobuf==3.20.3",
    "psutil==7.2.2",
    "rich==15.0.0",
    "setuptools==65.5.0",
    "sympy==1.14.0",
    "tqdm==4.70.1",
    "typing_extensions==4.16.0",
)

# Of a system that is not the user's.
_FOREIGN_LIBRARIES = ("libc.so.6", "libm.so.6", "libpthread.so.0")

# The environment has 1.4 GB; the wheels lie beside it until they are unpacked.
NEEDED = 3 << 30

_CHILD_SECONDS = 30


def install_toolchain(tell: Callable[[str], None]) -> Toolchain:
    """Install it into the user's data folder, or mend what is there; `tell` gets each step. Raises
    CompileFailed where disk, Python 3.10 or the package index is missing."""
    folder = paths.toolchain_dir()
    if platform.machine() != "x86_64":
        raise CompileFailed(
            f"TPU-MLIR is published for x86-64 alone, and this machine is {platform.machine()}.",
            hint="Compile on a PC and copy the folder of the bmodel here.",
        )
    with _alone(folder):
        if installed_root() is None:
            _check_disk(folder)
            python = find_python()
            tell(f"making an environment of {python} in {folder}")
            _make_environment(python, folder)
            tell(f"installing tpu_mlir {VERSION} and what it needs: about 0.5 GB to download")
            _install_packages(folder)
        _repair(folder / PACKAGE)
        toolchain = Toolchain.open(folder / PACKAGE, folder / "bin" / PYTHON)
        (folder / MARKER).write_text(f"{VERSION}\n")
    return toolchain


def remove_toolchain() -> int:
    """Delete it; how many bytes that freed, 0 where none was installed."""
    folder = paths.toolchain_dir()
    if not folder.exists():
        return 0
    with _alone(folder):
        freed = disk_used(folder)
        shutil.rmtree(folder)
    return freed


def disk_used(folder: Path) -> int:
    """Bytes that `folder` takes on the disk."""
    return sum(
        Path(place, file).lstat().st_blocks * 512
        for place, _, files in os.walk(folder)
        for file in files
    )


def find_python() -> Path:
    """An interpreter of the version that the package is built for: on PATH, or one of pyenv's.
    Raises CompileFailed where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(PYTHON), *map(str, sorted(pyenv.glob(f"versions/3.10*/bin/{PYTHON}")))]
    for candidate in (place for place in found if place):
        # Asked, as a shim of pyenv's is there and may lead nowhere.
        script = "import sys; print(sys.executable)"
        try:
            answer = subprocess.run(
                [candidate, "-I", "-c", script],
                capture_output=True,
                text=True,
                timeout=_CHILD_SECONDS,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return Path(answer.stdout.strip())
    raise CompileFailed(
        "TPU-MLIR runs on Python 3.10 alone, and there is no python3.10 on PATH or in pyenv.",
        hint="Install it (`pyenv install 3.10`, `apt install python3.10-venv`, or conda), "
        "or use the vendor's docker image; your own Python stays as it is.",
    )


def _check_disk(folder: Path) -> None:
    place = next(parent for parent in folder.parents if parent.exists())
    free = shutil.disk_usage(place).free
    if free < NEEDED:
        raise CompileFailed(
            f"TPU-MLIR needs {NEEDED >> 30} GiB of disk while it is installed, and "
            f"{free / (1 << 30):.1f} GiB are free in {place}.",
            hint="Make room, or set GLMD_DATA_DIR to a folder elsewhere.",
        )


def _make_environment(python: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    made = subprocess.run(
        [python, "-I", "-m", "venv", folder], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        said = (made.stdout + made.stderr).strip().splitlines() or ["it says nothing"]
        raise CompileFailed(
            f"{python} cannot make an environment in {folder}: {said[-1]}.",
            hint="Debian and Ubuntu have it in the package python3.10-venv.",
        )


def _install_packages(folder: Path) -> None:
    # pip shows its own progress, where it can be seen.
    quiet = () if sys.stderr.isatty() else ("--quiet",)
    pip = [str(folder / "bin" / PYTHON), "-I", "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-warn-script-location", "--only-binary=:all:", *quiet]
    done = subprocess.run([*pip, "install", *options, *PACKAGES], stdout=2, check=False)
    if done.returncode != 0:
        raise CompileFailed(
            f"pip could not install tpu_mlir {VERSION} into {folder}.",
            hint="Its last lines are above; run `glmd toolchain install` again when it can reach "
            "the package index.",
        )


def _repair(root: Path) -> None:
    for name in _FOREIGN_LIBRARIES:
        (root / "lib" / "third_party" / name).unlink(missing_ok=True)
    for program in (root / "bin").iterdir():
        program.chmod(program.stat().st_mode | 0o111)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else installs or removes meanwhile."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder.with_name(f"{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CompileFailed(
            f"{folder.parent} cannot be written to: {error.strerror}.",
            hint="GLMD_DATA_DIR moves it.",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise CompileFailed(
            f"Another glmd is installing or removing {folder}.", hint="Wait for it."
        ) from None
    finally:
        os.close(lock)
