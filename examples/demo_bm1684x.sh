#!/usr/bin/env bash
# What `make demo-bm1684x` shows: the shipped model compiled for the BM1684X, served on the chip's
# simulator, and two frontends at once. It uses folders of its own; what was compiled stays in
# build/demo-bm1684x, and is not compiled again.
set -euo pipefail
cd "$(dirname "$0")/.."

home=$(mktemp -d)
TPUC_ROOT=${TPUC_ROOT:-$(python -I -c "from glmd.compiler.toolchain.find import find_root; print(find_root() or \"\")")}
export TPUC_ROOT GLMD_RUNTIME_DIR=$home/run GLMD_DATA_DIR=$home/data GLMD_CONFIG=$home/config
out=build/demo-bm1684x
trap 'glmd stop --now >/dev/null 2>&1 || true; rm -rf "$home"' EXIT

bold='' plain=''
if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
shown() {
    printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"
    "$@"
}

mkdir -p "$out"
shown glmd compile glmd/models/glm3-nano --name glm3-nano --mode f16 --seq-length 128 --out "$out"
shown glmd start --simulate --model "$out/glm3-nano_f16_1dev/glm3-nano_f16_1dev.bmodel"
shown glmd status
shown python -I examples/two_frontends.py

glmd status --json | python -I -c '
import json, sys
status = json.load(sys.stdin)
pid, loads, served = status["replicas"][0]["pid"], status["model_loads"], status["clients_served"]
print(f"\nEngine process {pid} loaded the bmodel {loads} time and served {served} clients.")
sys.exit((loads, served, status["simulated"]) != (1, 2, True))
'

shown glmd stop
