# chipsim: everything from a fresh clone. Needs Python 3.11 or later, make and a package index.
#   make demo PYTHON=python3.12     another interpreter
#   make test JOBS=8                more test processes

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check bench clean

help: ## List these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

install: $(INSTALLED) ## Make the environment in .venv, with the versions of constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "chipsim needs Python 3.11 or later, and $(PYTHON) is %d.%d: give another one, as in make install PYTHON=python3.12" % v[:2])'
	@echo "Installing into $(VENV); the first time this takes a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[plots,dev]'
	@touch $@

demo: $(INSTALLED) ## Main job: teacher, chips with mismatch, learning on them, table and figure
	$(BIN)/chipsim demo

test: $(INSTALLED) ## All tests, with the coverage of chipsim (at least 90 %)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(JOBS) --dist worksteal --durations 10 \
	    --cov=chipsim --cov-report=term-missing:skip-covered --cov-fail-under=90

check: $(INSTALLED) ## Static checks: lint, format, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED) ## Speed measurements beside peers, one at a time; about 15 minutes, on a quiet machine
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable ".[plots,dev,bench]"
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps \
	    badcrossbar==1.1.0 pathvalidate==3.3.1  # whole, it needs cairo's headers, for its plots
	$(BIN)/pytest tests/benchmarks --capture=no

clean: ## Remove the environment and what tools left behind
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache \
	    .hypothesis .import_linter_cache .benchmarks
	find chipsim teachers studies tests -name __pycache__ -prune -exec rm -rf {} +
