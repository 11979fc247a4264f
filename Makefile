# Two commands for a fresh machine with Python 3.11 and make: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo check test test-scale clean

# The main job on the demo corpus, or on speech of yours: make demo CORPUS=path/to/LibriSpeech/dev-clean
demo: .venv/installed
	$(BIN)/asr-introspect demo --out runs/demo $(if $(CORPUS),--corpus "$(CORPUS)")

# Lint, types, and the tests on arrays and tiny nets.
check: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not speech and not scale" -n 2

# The above and: the demo corpus and net, real speech where it lies, every command, bad input, the page in a browser.
test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not scale" -n 2

test-scale: .venv/installed-test
	OMP_NUM_THREADS=1 $(BIN)/pytest -m scale

.venv/installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(INSTALL) --editable ".[test,phones,peers]"
	touch $@

clean:
	rm -rf .venv build *.egg-info
