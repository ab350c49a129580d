# Two commands for newcomers: `make demo` and `make test`. Each sets everything up by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup serve demo test check format docs site bench bench-jobs clean

help:
	@echo "make demo    start a server, do Phaya's main job, leave the results in demo/"
	@echo "make test    run every test"
	@echo "make check   lint, types, layers, docs in step and without broken links"
	@echo "make serve   run Phaya on http://127.0.0.1:8000"
	@echo "make setup   make .venv with .venv/bin/phaya"
	@echo "make format  format the code and fix what can be fixed"
	@echo "make bench   measure Phaya beside floors and rivals into docs/performance.md (Linux, wrk, nginx; 12 minutes)"
	@echo "make bench-jobs  measure a node with 100,000 jobs in flight (Linux, ten minutes)"
	@echo "make docs    print the reference pages from the code"
	@echo "make site    build the documentation as a website into site/"

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
	$(BIN)/pytest -n auto --dist loadfile
	@echo "All tests passed."

check: setup $(VENV)/.site
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m phaya.reference --check
	$(BIN)/python scripts/site.py
	@echo "All checks passed."

format: setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: setup
	$(BIN)/python -m phaya.reference

# ONLY=status,chat measures some parts, QUICK=1 takes a second for each point, WRITE=1 writes the page all the same.
bench: setup
	$(BIN)/python bench/run.py $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) $(if $(WRITE),--write)

bench-jobs: setup
	$(BIN)/python bench/jobs.py

$(VENV)/.site: $(VENV)/.ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --group docs
	@touch $@

# A link that leads nowhere stops the build.
site: $(VENV)/.site
	$(BIN)/python scripts/site.py

clean:
	rm -rf $(VENV) demo site .cache .pytest_cache .ruff_cache .hypothesis
