# make demo and make test set everything up on a machine that has Python and pip.
PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# tests run side by side; more threads in each only wait for one another
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-lowest parity check coverage docs notebooks dist bench validity clean

help:  ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/installed: setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) -e ".[test]"
	touch $@

$(VENV)/installed-parity: $(VENV)/installed
	$(PIP) -e ".[parity]"
	touch $@

$(VENV)/installed-check: $(VENV)/installed
	$(PIP) -e ".[check]"
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) -e ".[docs]"
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) -e ".[dev]"
	touch $@

demo: $(VENV)/installed  ## the whole path on synthesized sounds; needs no data
	$(BIN)/probekit demo

test: $(VENV)/installed-test  ## all tests but the slow ones
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not parity" $(ARGS)

test-slow: $(VENV)/installed-test  ## the slow tests
	$(BIN)/python -m pytest -m slow $(ARGS)

# an environment of its own; torch of this version only because older CPU builds are not on the usual index
$(LOWEST)/installed: setup.py constraints-lowest.txt
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e ".[test]"
	touch $@

test-lowest: $(LOWEST)/installed  ## all tests but the slow ones, on the lowest versions that are allowed
	$(ONE_THREAD) $(LOWEST)/bin/python -m pytest -n 2 --dist loadfile -m "not slow and not parity" $(ARGS)

coverage: $(VENV)/installed-test $(VENV)/installed-dev  ## lines that make test runs; fails below the floor in pyproject.toml
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not parity" \
		--cov --cov-report=term:skip-covered $(ARGS)

parity: $(VENV)/installed-parity  ## compare whole embeddings with the original packages
	$(BIN)/python -m pytest -m parity -rA $(ARGS)

check: $(VENV)/installed-check  ## style, types, docstrings, imports, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/python scripts/check_docstrings.py
	$(BIN)/lint-imports --no-cache
	$(BIN)/python scripts/import_graph.py
	$(BIN)/codespell

docs: $(VENV)/installed-docs  ## the site, into build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

notebooks: $(VENV)/installed-test $(VENV)/installed-docs  ## run the notebooks of examples/
	$(BIN)/python -m pytest -m slow -q tests/test_notebooks.py $(ARGS)

dist: $(VENV)/installed-check $(VENV)/installed-dev  ## wheel and source, checked as an index checks them
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/python -m twine check --strict dist/*

bench: $(VENV)/installed-test  ## time the real thing beside its peers
	$(BIN)/python -m benchmarks

validity: $(VENV)/installed  ## simulate the level, power and coverage of tests and intervals
	$(ONE_THREAD) $(BIN)/python -m benchmarks.validity $(ARGS)

clean:  ## remove the environment and what was built (not cache/ and reports/out/)
	rm -rf $(VENV) build dist *.egg-info
