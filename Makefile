# Two commands for newcomers: `make demo` and `make test`. Each sets everything up by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup serve demo test check format docs bench-jobs clean

help:
	@echo "make demo    start a server, do Phaya's main job, leave the results in demo/"
	@echo "make test    run every test"
	@echo "make check   lint, types, layers, docs in step"
	@echo "make serve   run Phaya on http://127.0.0.1:8000"
	@echo "make setup   make .venv with .venv/bin/phaya"
	@echo "make format  format the code and fix what can be fixed"
	@echo "make bench-jobs  measure a node with 100,000 jobs in flight (Linux, ten minutes)"
	@echo "make docs    print the reference pages from the code"

setup: $(VENV)/.ready

# The versions that were tested together are in constraints.txt; pip takes them from the usual index.
$(VENV)/.ready: pyproject.toml constraints.txt scripts/venv.sh
	sh scripts/venv.sh "$(PYTHON)" "$(VENV)"
	@touch $@

serve: setup
	$(BIN)/phaya serve

demo: setup
	$(BIN)/phaya demo

test: setup
	$(BIN)/pytest
	@echo "All tests passed."

check: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m phaya.reference --check
	@echo "All checks passed."

format: setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: setup
	$(BIN)/python -m phaya.reference

bench-jobs: setup
	$(BIN)/python bench/jobs.py

clean:
	rm -rf $(VENV) demo .pytest_cache .ruff_cache .hypothesis
