# The commands of this repository; CI runs `make test`, and nothing else.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
PYTHON ?= python3
PG ?=
N ?= 100
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup lint format test bench bench-peers chaos demo demo-repeat clean

help: ## show the targets
	@awk -F ' *:.*## *' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything that the other targets need

$(STAMP): pyproject.toml
	@found=; for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "pgqueue needs Python 3.11 or newer: none of $(PYTHON), python3, python3.14, python3.13, python3.12, python3.11 is. Name one: make setup PYTHON=/path/to/python" >&2; exit 1; \
	fi; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    "$$found" -m venv --clear $(VENV) || { echo "$$found cannot make a virtual environment; Debian and Ubuntu keep that in the package python3-venv" >&2; exit 1; }; \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

lint: $(STAMP) ## format check, rules, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pgqueue tests benchmarks
	$(BIN)/lint-imports

format: $(STAMP) ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint ## lint, then all tests on PostgreSQL 18, and on 15 where it is installed; PG=17 or PG=/dir/bin: on that one; ARGS for pytest
	$(BIN)/python -m tests.servers run $(PG) -- $(ARGS)

bench: $(STAMP) ## measure, and print the tables
	$(BIN)/python -m benchmarks $(ARGS)

bench-peers: $(STAMP) ## measure other job queues beside it, in environments of their own; writes docs/peers.md
	$(BIN)/python -m benchmarks peers --write $(ARGS)

chaos: $(STAMP) ## transactional jobs under random kills and cuts, effects counted; ARGS="--jobs 500 --seed 7"
	$(BIN)/python -m tests.worker.chaos $(ARGS)

demo: $(STAMP) ## the demonstration, on an embedded server
	$(BIN)/pgqueue demo $(ARGS)

demo-repeat: $(STAMP) ## the demonstration N times (N=100) on one server, until it fails
	$(BIN)/pgqueue demo --repeat $(N) $(ARGS)

clean: ## remove what these targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .pgqueue/peers dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
