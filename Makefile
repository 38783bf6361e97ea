# The verbs of this project. `make run` and `make test` need nothing but Python 3.11+, pip and git.
PYTHON ?= python3
BIN := .venv/bin
PY := $(BIN)/python -W "ignore:XDG_RUNTIME_DIR"
export PYTHONDONTWRITEBYTECODE ?=

.PHONY: help run day fleet reset test check chaos bench lint types format lock translations clean

help:            ## what there is to do
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

run: .venv/demo  ## start the province and two cities; addresses and accounts are printed
	@$(PY) -m app.demo

day: .venv/demo  ## play one day through the running cities' public interfaces
	@$(PY) -m app.demo.day

fleet: .venv/demo ## some hundreds of gates against the running cities, with all that goes wrong (ARGS="--seed 7")
	@$(PY) -m app.demo.fleet $(ARGS)

reset: .venv/demo  ## forget the demonstration's data
	@$(PY) -m app.demo --reset

test: .venv/dev  ## everything, browser included
	@$(BIN)/python -m tests.build.browser
	@$(BIN)/python -m tests.build.reader
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check . && $(BIN)/lint-imports --no-cache > /dev/null || { $(BIN)/ruff check .; $(BIN)/lint-imports; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/pytest -n 2 $(ARGS)

check: .venv/dev ## the fast part, under a minute
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/lint-imports > /dev/null || { $(BIN)/lint-imports; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/pytest -n 2 tests/unit tests/house tests/vectors

chaos: .venv/dev ## hurt a city for a quarter of an hour: SEED=… repeats it, STRIKES=… says how often
	@CHAOS_STEP=1 $(BIN)/pytest -q tests/chaos/test_wire.py
	@$(PY) -m tests.chaos --strikes $(or $(STRIKES),180) $(if $(SEED),--seed $(SEED))

.PHONY: big
big: .venv/dev   ## the same questions to archived months, put to Spark (installs it; needs Java 17)
	@$(BIN)/pip install -q "pyspark>=4"
	@$(BIN)/pytest -W default tests/db/ledger/test_engines.py

bench: .venv/dev ## measure, side by side, into benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks

format: .venv/dev ## let ruff tidy up
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

lock: .venv/dev  ## compile the requirements from pyproject.toml, with hashes
	@$(BIN)/python -m app.setup lock

# Each stamp remembers what was installed; a changed list installs again.
.venv/demo: requirements-demo.txt package-lock.json app/setup.py
	@$(PYTHON) app/setup.py demo

.venv/dev: requirements-dev.txt package-lock.json app/setup.py
	@$(PYTHON) app/setup.py dev

clean:           ## remove what was installed
	rm -rf .venv node_modules portal/static/vendor
