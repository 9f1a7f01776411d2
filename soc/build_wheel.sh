#!/usr/bin/env bash
# build_wheel.sh PYTHON FOLDER OUT: the wheel for the SoC boxes, built on this machine with g++-aarch64-linux-gnu, into
# OUT. PYTHON has scikit-build-core; FOLDER is what fetch_python.sh made with it.
set -euo pipefail
python=$(realpath --no-symlinks "$1")
root=$(realpath "$2")/root
mkdir -p "$3"
out=$(realpath "$3")
cd "$(dirname "$0")/.."

# What the box's Python says of itself; the rest of its library stays out of this one's way.
said=_sysconfigdata__aarch64-linux-gnu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
cp "$root/usr/lib/$version/$said.py" "$scratch"

export PYTHONPATH=$scratch _PYTHON_SYSCONFIGDATA_NAME=$said _PYTHON_HOST_PLATFORM=linux-aarch64
export CMAKE_ARGS="-DCMAKE_TOOLCHAIN_FILE=$PWD/daemon/native/cmake/aarch64-linux-gnu.cmake \
-DPython_INCLUDE_DIR=$root/usr/include/$version -DCMAKE_CXX_FLAGS=-isystem$root/usr/include"
"$python" -c 'import sys; from scikit_build_core.build import build_wheel; build_wheel(sys.argv[1])' "$out"
