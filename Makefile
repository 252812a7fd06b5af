# Each target works alone from a fresh clone: setup runs by itself when it is needed.

PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
PYTEST_ARGS ?= -n 2
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow check bench bench-peers clean

help:
	@echo "make setup   build .venv with the exact versions of constraints.txt"
	@echo "make demo    fetch a small model, run the quickstart study, write its report"
	@echo "make test    run the tests (offline, on the CPU); PYTEST_ARGS=\"-k name\" picks some"
	@echo "make slow    run the heavy proofs that make test leaves out"
	@echo "make check   lint, formatting, types, and which module may import which"
	@echo "make bench   measure what we claim about speed (an hour); BENCH_ARGS=\"--only heads\""
	@echo "make bench-peers   install the libraries that make bench compares us with"
	@echo "make clean   remove all that the other targets built"

setup: .venv/.stamp

.venv/.stamp: pyproject.toml constraints.txt
	@echo "Building .venv with $$($(PYTHON) --version) (1 to 2 minutes, more if torch is to be downloaded) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
	@echo "Ready: .venv/bin/seatrial --help"

demo: setup
	$(BIN)/seatrial pull smollm2-135m
	$(BIN)/seatrial run quickstart --out runs/quickstart
	$(BIN)/seatrial report runs/quickstart

# Two workers with one quiet thread each: tiny tensors gain nothing from more, and threads
# that spin while they wait would take the cores from the other worker.
test: setup
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest $(PYTEST_ARGS)

# Heavy proofs, in the same way; CI runs them after the tests, so that none rots.
slow: setup
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest $(PYTEST_ARGS) -m "slow and not network and not gpu"

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

bench: setup
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

# The libraries that benchmark 6 compares with; they need another transformers than ours.
bench-peers: runs/peers/.stamp

runs/peers/.stamp: benchmarks/peers/requirements.txt
	@$(PYTHON) -m venv runs/peers/.venv
	@runs/peers/.venv/bin/python -m pip install -qq --disable-pip-version-check -r $<
	@touch $@

clean:
	rm -rf .venv build dist runs/quickstart
	rm -rf .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
