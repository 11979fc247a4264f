# `make demo` and `make test` need Python 3.11 or newer and make, nothing else; both install into .venv first.
#
#   make demo [CORPUS=path/to/LibriSpeech/test-clean] [OUT=runs/demo]
#   make check        ruff, mypy, quick tests
#   make test         check, and all tests but those of scale [TESTS=tests/corpus]
#   make test-scale   Dask, transformers, documentation
#   make benchmarks   what is timed, as ratios

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
OUT ?= runs/demo
TESTS ?= tests
BIN := $(VENV)/bin
# Two processes of one thread each: tests are small, threads would only wait for each other.
PYTEST := OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/benchmarks $(TESTS)
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

.PHONY: benchmarks check demo lint test test-scale
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(BIN)/asr-introspect demo --out "$(OUT)" $(if $(CORPUS),--corpus "$(CORPUS)")

lint: $(VENV)/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint
	$(PYTEST) -m "not speech and not scale"

test: lint
	$(PYTEST) -m "not scale"

test-scale: $(VENV)/installed-for-tests
	$(PYTEST) -m scale

benchmarks: $(VENV)/installed-for-tests
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: none found" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: $(PYTHON) is older" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml setup.py constraints.txt | $(BIN)/python
	$(INSTALL) .
	@touch $@

$(VENV)/installed-for-tests: pyproject.toml setup.py constraints.txt | $(BIN)/python
	$(INSTALL) '.[test,phones,peers,beam]'
	@touch $@ $(VENV)/installed
