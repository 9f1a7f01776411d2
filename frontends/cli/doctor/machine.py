"""The machine: Python, processor, memory, disk, folders, accelerators."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

import psutil

from glmd import paths
from glmd.errors import CompileFailed, StartFailed
from glmd.frontends.cli.accelerators import find_accelerators
from glmd.frontends.cli.doctor.finding import Finding
from glmd.frontends.cli.terminal import file_size

OLDEST = (3, 10)
NEWEST_TRIED = (3, 13)
DISK_FOR_LOGS = 64 << 20
MEMORY_FOR_NANO = 512 << 20
MEMORY_FOR_6B_INT4 = 5 << 30


def python() -> Finding:
    version = sys.version_info[:2]
    found = f"Python {platform.python_version()} at {sys.executable}"
    if version < OLDEST:
        return Finding("python", "fail", found, "Install Python 3.10 or newer.")
    if version > NEWEST_TRIED:
        return Finding("python", "warn", found, "glmd is tested up to Python 3.13.")
    return Finding("python", "ok", found)


def memory() -> Finding:
    free = psutil.virtual_memory().available
    found = f"{file_size(free)} available"
    if free < MEMORY_FOR_NANO:
        return Finding("memory", "fail", found, "End something else: even glm3-nano wants more.")
    if free < MEMORY_FOR_6B_INT4:
        return Finding(
            "memory", "warn", found, "Enough for glm3-nano; ChatGLM3-6B in int4 needs 5 GiB."
        )
    return Finding("memory", "ok", found)


def disk(name: str) -> Finding:
    folder = paths.data_dir(name)
    free = shutil.disk_usage(_existing(folder)).free
    found = f"{file_size(free)} free for {folder}"
    if free < DISK_FOR_LOGS:
        return Finding("disk", "fail", found, "Make room, or set GLMD_DATA_DIR to another folder.")
    return Finding("disk", "ok", found)


def runtime_folder(name: str) -> Finding:
    folder = paths.runtime_dir(name)
    try:
        paths.make_private(folder)
        paths.check_socket_length(paths.socket_file(name))
    except StartFailed as error:
        return Finding("runtime folder", "fail", error.message, error.hint)
    return Finding("runtime folder", "ok", f"{folder} is private to this user")


def accelerators() -> Finding:
    devices = find_accelerators().devices
    found = f"BM1684X chips {','.join(map(str, devices))}" if devices else "no BM1684X chips"
    return Finding("accelerators", "ok", found)


def toolchain() -> Finding:
    """Only whether it is there: to ask it what it is takes seconds."""
    from glmd.compiler.toolchain.find import find_root

    try:
        root = find_root()
    except CompileFailed as error:
        return Finding("toolchain", "fail", error.message, error.hint)
    if root is None:
        install = "Needed for `glmd compile` alone: `glmd toolchain install`."
        return Finding("toolchain", "ok", "TPU-MLIR is not installed", install)
    return Finding("toolchain", "ok", f"TPU-MLIR in {root}")


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())
