# Two commands for newcomers: `make demo` and `make test`. Each sets everything up by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup serve demo test check kills soak soak-answers soak-calls soak-use lock sbom audit format docs site bench bench-jobs clean

help:
	@echo "make demo    start a server, do Phaya's main job, leave the results in demo/"
	@echo "make test    run every test"
	@echo "make check   lint, types, layers, docs in step and without broken links"
	@echo "make kills   kill -9 real nodes under load, 210 times (10 to 25 minutes)"
	@echo "make soak    the long tests: a million wrong answers, a million requests (Linux; 15 minutes)"
	@echo "make lock    write requirements.lock again, after a change of constraints.txt"
	@echo "make sbom    write the bill of materials, sbom.cdx.json"
	@echo "make audit   ask the advisory database about every locked package"
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
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder
	@echo "All tests passed."

check: setup $(VENV)/.site
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m phaya.reference --check
	$(BIN)/python scripts/site.py
	@echo "All checks passed."

kills: setup
	PHAYA_KILLS=70 $(BIN)/pytest tests/test_kill.py -s -k no_kill

# Three parts, of one, five and eight minutes; each may be run by itself.
soak: soak-answers soak-calls soak-use

soak-answers: setup
	$(BIN)/python bench/fuzz.py 1100000 --write

soak-calls: setup
	PHAYA_SOAK_SCENARIOS=1000 $(BIN)/pytest tests/test_fuzz.py

soak-use: setup
	$(BIN)/python bench/soak.py --write

$(VENV)/.supply: $(VENV)/.ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --group supply
	@touch $@

# What the package brings, for every platform, with the hashes of its files. No address of an index gets in.
lock: $(VENV)/.supply
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --constraint constraints.txt \
	    --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --quiet \
	    --custom-compile-command "make lock" --output-file requirements.lock

# The lock says what is brought, and not by what: a warning would miss the tree.
sbom: $(VENV)/.supply
	$(BIN)/python -W ignore::UserWarning -m cyclonedx_py requirements requirements.lock --pyproject pyproject.toml --output-reproducible \
	    --output-format JSON --output-file sbom.cdx.json
	@echo "sbom.cdx.json is written."

audit: $(VENV)/.supply
	$(BIN)/python scripts/audit.py

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
