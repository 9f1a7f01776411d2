#!/usr/bin/env bash
# What `make demo-bm1684x` shows: the shipped model compiled for the BM1684X, served on the chip's
# simulator, and four clients that chat at once. It uses folders of its own; what was compiled stays
# in build/demo-bm1684x, and is not compiled again.
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
# 64 tokens are room for these questions and answers; more would be more nets to compile.
shown glmd compile glmd/models/glm3-nano --name glm3-nano --seq-length 64 --out "$out"
shown glmd start --simulate --model "$out/glm3-nano_f16_1dev"
shown python -I examples/four_clients.py
shown glmd status

glmd status --json | python -I -c '
import json, sys
status = json.load(sys.stdin)
(engine,) = status["replicas"]
loads, served = status["model_loads"], status["clients_served"]
pid, decodes = engine["pid"], engine["decodes"]
four = dict(enumerate(decodes, 1)).get(4, 0)
print(f"\nEngine process {pid} loaded the bmodel {loads} time and served {served} clients:")
print(f"{four} of its {sum(decodes)} decodes gave each of the four its next token.")
sys.exit((loads, served, status["simulated"]) != (1, 4, True) or not four)
'

shown glmd stop

if [ -z "${VIRTUAL_ENV:-}" ] && [ -f .venv/bin/activate ]; then
    activate=". .venv/bin/activate && "
fi
cat <<END

Now you:
    ${activate:-}glmd start --simulate --model $out/glm3-nano_f16_1dev
    glmd chat
    glmd stop
END
