#!/usr/bin/env bash
# smoke.sh PYTHON: install the checkout into a fresh environment of that interpreter and use it once.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'glmd stop >"$scratch/stop" 2>&1 || true; rm -rf "$scratch"' EXIT

"$1" -m venv "$scratch/venv"
export PATH="$scratch/venv/bin:$PATH"
export GLMD_RUNTIME_DIR="$scratch/run" GLMD_DATA_DIR="$scratch/data" GLMD_CONFIG="$scratch/config"
cd "$scratch"
pip install -q --disable-pip-version-check --config-settings=build-dir="$scratch/build" "$root"

python -I -W error -m glmd --version
glmd start 2>"$scratch/start" || { cat "$scratch/start"; exit 1; }
answer=$(glmd ask --generation-mode greedy 你好)
[ -n "$answer" ]
python -I -W error - "$answer" <<'PYTHON'
import sys
import glmd

with glmd.Client() as client:
    assert client.chat("你好", preset="greedy").text == sys.argv[1]
PYTHON
glmd stop >"$scratch/stop" 2>&1
echo "$(python --version): $answer"
