"""Speed of the CPU backend's matrix products, beside NumPy's and torch's.

    .venv/bin/python bench/cpu_kernels.py [--rows 27392] [--columns 4096] [--threads N]

GB/s counts the packed weights once a call, GOP/s a multiplication and an addition for each weight
and token. Ours and the others' runs alternate, and of each the best of three rounds counts; × is
the ratio of times to NumPy's float32 product (and torch's int8, where torch is installed).
Results go to bench/results/cpu_kernels.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "native"
ROUNDS = 3
TOKENS = (1, 2, 4, 8, 32, 128)


def build() -> Path:
    tools = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    configure = ["cmake", "-S", ROOT / "daemon/native", "-B", BUILD, "-DGLMD_TESTS=ON"]
    if not (BUILD / "CMakeCache.txt").exists():
        subprocess.run([*configure, "-G", "Ninja"], env=env, check=True, stdout=sys.stderr)
    command = ["cmake", "--build", BUILD, "--target", "bench_kernels"]
    subprocess.run(command, env=env, check=True, stdout=sys.stderr)
    return BUILD / "tests" / "bench_kernels"


def ours(program: Path, rows: int, columns: int, threads: int) -> dict[tuple[str, int], Any]:
    command = [str(program), str(rows), str(columns), str(threads)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    figures = map(json.loads, lines)
    return {(figure["kind"], figure["tokens"]): figure for figure in figures}


def best_milliseconds(run: Callable[[], object]) -> float:
    run()
    best, spent = float("inf"), 0.0
    while spent < 0.5:
        start = time.perf_counter()
        run()
        took = time.perf_counter() - start
        best, spent = min(best, took), spent + took
    return best * 1e3


def numpy_float32(rows: int, columns: int) -> dict[int, float]:
    import numpy as np

    rng = np.random.default_rng(0)
    weights = rng.standard_normal((rows, columns), dtype=np.float32)
    x = rng.standard_normal((TOKENS[-1], columns), dtype=np.float32)
    return {n: best_milliseconds(lambda n=n: x[:n] @ weights.T) for n in TOKENS}  # type: ignore[misc]


def torch_int8(rows: int, columns: int, threads: int) -> dict[int, float]:
    """Dynamically quantised linear layer (FBGEMM); {} where torch is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return {}
    import warnings

    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    layer = torch.nn.Sequential(torch.nn.Linear(columns, rows, bias=False))
    layer = torch.ao.quantization.quantize_dynamic(layer, {torch.nn.Linear}, torch.qint8)
    x = torch.randn(TOKENS[-1], columns)
    with torch.no_grad():
        return {n: best_milliseconds(lambda n=n: layer(x[:n])) for n in TOKENS}  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=27392)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    # Read by the BLAS when NumPy is first imported.
    os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), str(args.threads)))

    program = build()
    figures: dict[tuple[str, int], Any] = {}
    blas: dict[int, float] = {}
    fbgemm: dict[int, float] = {}
    for _ in range(ROUNDS):
        for key, figure in ours(program, args.rows, args.columns, args.threads).items():
            if key not in figures or figure["milliseconds"] < figures[key]["milliseconds"]:
                figures[key] = figure
        for best, now in (
            (blas, numpy_float32(args.rows, args.columns)),
            (fbgemm, torch_int8(args.rows, args.columns, args.threads)),
        ):
            for tokens, milliseconds in now.items():
                best[tokens] = min(milliseconds, best.get(tokens, float("inf")))

    load = os.getloadavg()[0]
    print(f"{args.rows} x {args.columns}, {args.threads} threads, load average {load:.1f}")
    print(
        f"{'kind':8} {'tokens':>6} {'ms':>9} {'GB/s':>7} {'GOP/s':>7} {'× numpy':>8} {'× torch':>8}"
    )
    for (kind, tokens), figure in figures.items():
        figure["numpy_float32_ms"] = blas[tokens]
        figure["torch_int8_ms"] = fbgemm.get(tokens)
        ratio = f"{blas[tokens] / figure['milliseconds']:8.2f}"
        other = f"{fbgemm[tokens] / figure['milliseconds']:8.2f}" if fbgemm else " " * 8
        print(
            f"{kind:8} {tokens:6} {figure['milliseconds']:9.3f} {figure['gb_per_second']:7.2f} "
            f"{figure['gop_per_second']:7.1f} {ratio} {other}"
        )
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    report = {
        "rows": args.rows,
        "columns": args.columns,
        "load_average": load,
        "figures": list(figures.values()),
    }
    (results / "cpu_kernels.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
