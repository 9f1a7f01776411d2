"""Memory and time that it takes to compile ChatGLM3-6B: one layer of it, with embedding and heads.

    python bench/compile_memory.py [MODE [RECIPE]]

Takes 20 minutes, and 12 GiB of memory and of disk in /tmp.

Random weights of the real size, the whole `glmd compile`; memory is the resident set of the command
and of everything it started, sampled while it runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil

from glmd.compiler.toolchain.find import find_root

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
EVERY = 0.2  # seconds


def resident(process: psutil.Process) -> int:
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def main() -> None:
    if find_root() is None:
        print("needs TPU-MLIR: glmd toolchain install")
        return
    sys.path.insert(0, str(ROOT / "tests"))
    from support.checkpoints import SIX_B, write_large_checkpoint

    mode, recipe = (*sys.argv[1:], *("int4", "serve")[len(sys.argv) - 1 :])
    with tempfile.TemporaryDirectory(prefix="glmd-bench-") as folder:
        checkpoint = write_large_checkpoint(Path(folder, "six-b"), replace(SIX_B, layers=1))
        command = [sys.executable, "-I", "-m", "glmd", "compile", str(checkpoint)]
        command += ["--mode", mode, "--recipe", recipe]
        started, peak = time.monotonic(), 0
        with subprocess.Popen([*command, "--jobs", "1", "--out", folder]) as running:
            watched = psutil.Process(running.pid)
            while running.poll() is None:
                peak = max(peak, resident(watched))
                time.sleep(EVERY)
        facts = {
            "what": f"glmd compile, 6B with one layer, {mode}, {recipe} recipe, --jobs 1",
            "failed": running.returncode != 0,
            "peak_resident_mib": peak >> 20,
            "minutes": round((time.monotonic() - started) / 60, 1),
        }
    RESULTS.mkdir(exist_ok=True)
    made = RESULTS / f"compile_memory_{mode}_{recipe}.json"
    made.write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
