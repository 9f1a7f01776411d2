#!/usr/bin/env bash
# fetch_python.sh PYTHON FOLDER: what a wheel for the SoC boxes is built against and tried with: in FOLDER/root Debian's
# Python for arm64 of the same version as PYTHON, with headers, and in FOLDER/dependencies what glmd depends on.
# Needs apt-get and dpkg-deb, neither root nor a change to this machine's packages.
set -euo pipefail
mkdir -p "$2/root"
folder=$(realpath "$2")
version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT

# For apt a machine of another architecture on which nothing is installed: all that Python needs comes along.
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
touch "$apt/status"
options=(
  -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=
  -o Dir::State::Lists="$apt/lists" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache"
  -o Debug::NoLocking=1
)
apt-get "${options[@]}" update
apt-get "${options[@]}" install --yes --no-install-recommends --download-only \
  "python$version-minimal" "libpython$version-dev" libstdc++6 >/dev/null
for package in "$apt"/cache/archives/*.deb; do
  dpkg-deb --extract "$package" "$folder/root"
done

"$1" -c 'import importlib.metadata as m; print(*[r for r in m.requires("glmd") if "extra ==" not in r], sep="\n")' \
  >"$apt/requirements"
rm -rf "$folder/dependencies"
"$1" -m pip install -q --disable-pip-version-check --no-compile --only-binary=:all: \
  --python-version "$version" --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 \
  --target "$folder/dependencies" -r "$apt/requirements"
