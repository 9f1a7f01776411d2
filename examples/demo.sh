#!/usr/bin/env bash
# What `make demo` shows: one daemon, one loaded model, two frontends at once. It uses folders of its
# own, so that a daemon of yours is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

home=$(mktemp -d)
export GLMD_RUNTIME_DIR=$home/run GLMD_DATA_DIR=$home/data GLMD_CONFIG=$home/config
trap 'glmd stop --now >/dev/null 2>&1 || true; rm -rf "$home"' EXIT

bold='' plain=''
if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
shown() {
    printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"
    "$@"
}

shown glmd start
shown python -I examples/two_frontends.py
shown glmd status

glmd status --json | python -I -c '
import json, sys
status = json.load(sys.stdin)
pid, loads, served = status["replicas"][0]["pid"], status["model_loads"], status["clients_served"]
print(f"\nEngine process {pid} loaded the model {loads} time and served {served} clients.")
sys.exit((loads, served) != (1, 2))
'

shown glmd stop

if [ -z "${VIRTUAL_ENV:-}" ] && [ -f .venv/bin/activate ]; then
    activate=". .venv/bin/activate && "
fi
cat <<END

Now you:
    ${activate:-}glmd start
    glmd chat
    glmd ask "How do I load ChatGLM3-6B?"
END
