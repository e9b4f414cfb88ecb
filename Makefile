# Every target does its own set-up: a machine with Python 3.11 or newer and make is enough.
# Say VENV=... for an environment elsewhere, PYTHON=... for another interpreter.

SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= results
TESTS ?= tests
WORKERS ?= 2
CLAIMS := docs/_build/claims.json

# The first python that is new enough and can make environments; empty when there is none.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
TORCH := $(shell grep '^torch==' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help setup test check format docs cards demo benchmarks clean

help:  ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# --- set-up: three stamps, so that `make demo` does not wait for the developers' tools --------------------------------

$(VENV)/.torch: constraints.txt
	@test -n "$(PYTHON)" || { echo "polytask needs Python 3.11 or newer with its venv module (on Debian and Ubuntu:" \
		"apt install python3-venv). None was found; name one with 'make PYTHON=/path/to/python3.11 ...'." >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version); the first time takes a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH) -c constraints.txt  # first and alone: a later resolution could choose a build with gigabytes of CUDA
	@touch $@

$(VENV)/.run: pyproject.toml $(VENV)/.torch
	$(PIP) -e '.[tensorboard]' -c constraints.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) -e '.[dev]' -c constraints.txt
	@touch $@

setup: $(VENV)/.dev  ## .venv with polytask and all that its developers use

# --- the two commands -------------------------------------------------------------------------------------------------

demo: $(VENV)/.run  ## compare joint training with single-task networks on a small problem (a few minutes)
	$(BIN)/polytask compare digits --out $(OUT)/digits

test: $(VENV)/.dev  ## all tests, in random order (TESTS=tests/test_x.py WORKERS=0 for a few)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --record-claims $(CLAIMS) $(TESTS)

# --- the one check command --------------------------------------------------------------------------------------------

check: $(VENV)/.dev  ## style, types, layers, doctests, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q --doctest-modules src
	$(MAKE) --no-print-directory docs

format: $(VENV)/.dev  ## mend the style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev  ## the manual, in docs/_build/html; a warning is an error; its code is run
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	$(BIN)/python -m pytest -q tests/test_documentation.py

cards: $(VENV)/.dev  ## docs/methods and docs/support.md, from docstrings and from the tests that hold (minutes)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal --record-claims $(CLAIMS) \
		-m "claim or support or refused" tests/balancing tests/training/test_resume.py tests/training/test_sampling.py
	$(BIN)/python docs/method_cards.py $(CLAIMS)

benchmarks: $(VENV)/.dev  ## the measurements behind the claims about speed
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:  ## remove what these commands made (results are kept)
	rm -rf $(VENV) build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
