# The table of contents: what can be done with a checkout.
# Everything needs only Python >= 3.10, a C++ compiler and make; the rest goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(shell find daemon/native -name '*.cpp' -o -name '*.h' -o -name CMakeLists.txt)
CXX_FILES = $(filter %.cpp %.h,$(NATIVE))

.PHONY: help build setup demo demo-bm1684x test lint format typecheck test-native test-sanitizers test-aarch64 aarch64-python wheel-aarch64 test-python test-pythons fuzz bench bmodels clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/.tools:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "glmd needs Python 3.10 or newer")'
	@echo "Installing the build tools into $(VENV)."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/pip install -q 'scikit-build-core>=0.10' 'pybind11>=3.0' cmake ninja
	@touch $@

# Editable and without build isolation, so that a change in C++ rebuilds only what it touches.
$(VENV)/.built: $(VENV)/.tools pyproject.toml $(NATIVE)
	@echo "Compiling the engine and installing glmd into $(VENV): one to three minutes the first time."
	$(BIN)/pip install -q --no-build-isolation -e .
	@touch $@

$(VENV)/.test: $(VENV)/.built
	$(BIN)/pip install -q --no-build-isolation -e '.[test]'
	@touch $@

build: $(VENV)/.built ## install glmd into .venv and compile the engine

setup: $(VENV)/.test ## the same with the test extras

demo: build ## start a daemon on the shipped model and stream from two frontends at once
	PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

demo-bm1684x: build ## compile the shipped model, serve it on the simulator; needs `glmd toolchain install`
	PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo_bm1684x.sh

test: setup lint typecheck test-native test-python ## everything that has to pass

lint: setup ## style of Python and C++
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)

format: setup ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@$(BIN)/clang-format -i $(CXX_FILES)

# mypy has to see the folders where the wheel puts them.
typecheck: setup ## mypy --strict
	@rm -rf build/typing && mkdir -p build/typing/glmd
	@ln -s $(CURDIR)/glmd/* build/typing/glmd/
	@for room in daemon frontends compiler plugins; do ln -s $(CURDIR)/$$room build/typing/glmd/$$room; done
	$(BIN)/mypy -p glmd

test-native: setup ## the C++ tests
	$(BIN)/cmake -S daemon/native -B build/native -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DGLMD_TESTS=ON
	$(BIN)/cmake --build build/native
	$(BIN)/ctest --test-dir build/native --output-on-failure

test-sanitizers: setup ## the C++ tests with the address, undefined-behaviour and thread sanitizers
	@for kinds in address,undefined thread; do \
	  folder=build/sanitize-$${kinds%,*}; \
	  $(BIN)/cmake -S daemon/native -B $$folder -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DGLMD_TESTS=ON -DGLMD_SANITIZE=$$kinds && \
	  $(BIN)/cmake --build $$folder && \
	  $(BIN)/ctest --test-dir $$folder --output-on-failure || exit 1; \
	done

test-aarch64: setup ## the C++ tests for the SoC boxes, cross-compiled and run under qemu-user
	$(BIN)/cmake -S daemon/native -B build/aarch64 -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DGLMD_TESTS=ON -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake
	$(BIN)/cmake --build build/aarch64
	$(BIN)/ctest --test-dir build/aarch64 --output-on-failure

# Of the version in .venv, which has to be one that this machine's Debian has.
SOC := build/aarch64-python
$(SOC)/.complete: soc/fetch_python.sh pyproject.toml | $(VENV)/.built
	bash soc/fetch_python.sh $(BIN)/python $(SOC)
	@touch $@

aarch64-python: $(SOC)/.complete ## Debian's Python for the SoC boxes, unpacked, with what glmd depends on

DIST ?= dist
wheel-aarch64: $(SOC)/.complete ## cross-compile the wheel for the SoC boxes into dist/
	bash soc/build_wheel.sh $(BIN)/python $(SOC) $(DIST)

# Two at a time, a file of tests each: most of them wait for one process that uses one core.
test-python: setup ## pytest
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

# Others than the one in .venv; what is not installed is left out.
PYTHONS ?= python3.10 python3.11 python3.12 python3.13
test-pythons: ## install and use the package with every other Python at hand
	@for python in $(PYTHONS); do \
	  if $$python --version >/dev/null 2>&1; then bash tests/package/smoke.sh $$python || exit 1; fi; \
	done

# ChatGLM3-6B takes the same commands with another checkpoint and no --seq-length: docs/compile.md.
BMODELS ?= build/bmodels
NANO = glmd/models/glm3-nano --name glm3-nano --seq-length 64 --out $(BMODELS)
bmodels: setup ## compile glm3-nano for BM1684X in three modes and verify it on the simulator
	$(BIN)/pip install -q --no-build-isolation -e '.[compile]'
	$(BIN)/glmd toolchain install
	for mode in f16 int8 int4; do \
	  $(BIN)/glmd compile $(NANO) --mode $$mode && \
	  $(BIN)/glmd compile verify $(NANO) --mode $$mode || exit 1; done

fuzz: setup ## a million mutated messages against the codec
	$(BIN)/python tests/wire/fuzz.py

bench: setup ## every benchmark; results go to bench/results
	for script in bench/*.py; do $(BIN)/python $$script || exit 1; done

clean: ## forget builds and the environment
	rm -rf build dist $(VENV)
