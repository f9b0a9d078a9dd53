# `make demo` and `make test` need Python 3.11 or newer, a package index for pip, and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
COLLECTIONS ?= $(LIMPID_COLLECTIONS)

.DEFAULT_GOAL := help
# What is imported is compiled once and kept; without that every command would start a second later.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup demo test lint format bench validate clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# A new pip takes 38 s where the one that venv brings takes 54; compiling everything to byte code would add half a
# minute, and Python compiles what it imports.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --no-compile -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/.installed  ## make the virtual environment and install Limpid into it

demo: setup  ## ingest a real corpus, ask it, score it, report on it
	$(BIN)/limpid demo

# One process a core; each would otherwise start a thread a core for every matrix product.
test: $(VENV)/.installed-dev  ## run the tests
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

lint: $(VENV)/.installed-dev  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev  ## put everything in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev  ## measure everything the README states (LIMPID_COLLECTIONS names the judged collections)
	$(BIN)/pip install --quiet --no-compile -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.run_all

validate: $(VENV)/.installed-dev  ## plant faults into judged collections and count what the report finds
	$(BIN)/python -m benchmarks.validate

clean:  ## remove the virtual environment and what the demo made
	rm -rf $(VENV) .limpid-demo report.html
