PYTHON ?= python3
BUNDLE ?= lv_mixed_supervision_segmentation
DATA ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done

# Waiting threads sleep instead of spinning: beside a second busy process, spinning makes torch many times slower.
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 0

.DEFAULT_GOAL := help
.PHONY: help setup lint types test test-all demo clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the tested versions (PYTHON=python3.12 picks another interpreter)

$(STAMP): setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(None if sys.version_info >= (3, 10) else \
		f"Expected Python 3.10 or newer, got {v} from $(PYTHON); try: make setup PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install -c constraints.txt -e '.[test]'
	@touch $@

lint: setup ## Check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup ## Check types
	$(BIN)/mypy monai_ext

test: setup ## Run the fast tests
	$(BIN)/python -m pytest -m "not slow"

test-all: setup ## Run all tests
	$(BIN)/python -m pytest

demo: setup ## Train and show a bundle on phantoms, or on your data with DATA=DIR; BUNDLE=NAME picks it
	$(BIN)/python -m monai_ext demo --bundle $(BUNDLE) $(if $(DATA),--data "$(DATA)")

clean: ## Remove caches and outputs of runs (not .venv, not models)
	rm -rf demo_output bundles/*/eval bundles/*/cache benchmark_work build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name $(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
