# Every target works on a fresh machine: each begins with `setup`, which makes .venv with an editable install.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 3

.PHONY: help setup demo test check sim mutants fuzz pictures crash bench catchup pairing introduce bench-hub paths meet clean

help:  ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: .venv/.installed  ## Make .venv, with pigeon installed in it (editable).

.venv/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pigeon needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --only-binary :all: hatchling editables
	$(BIN)/pip install --quiet --disable-pip-version-check --prefer-binary --no-build-isolation -e '.[dev]'
	@touch $@

demo: setup  ## Four real nodes on this machine agree on one order; takes under a minute.
	$(BIN)/pigeon demo

test: setup  ## All tests that need neither root, a server nor a browser.
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

check: setup  ## Lint and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

sim: setup  ## Seeded simulation of the chain core: every seed must keep every property.
	$(BIN)/python -m tests.simulation.run

mutants: setup  ## Rules broken on purpose, one at a time: a test or a seed has to notice each.
	$(BIN)/python -m tests.mutants.run

pictures: setup  ## Pictures of tokens, harmed in eighteen ways: how many are still read, and QR versions.
	$(BIN)/python -m tests.pictures.run

crash: setup  ## Real nodes killed at every write, torn and full disks, flipped bits: nothing shown is lost.
	$(BIN)/python -m tests.crash.run

fuzz: setup  ## Hostile bytes for every decoder, a million in all; NIGHTLY=1: a million for each.
	$(BIN)/python -m tests.fuzz.run

bench: setup  ## From `pending` to `final` on this machine: 200 messages, four real nodes.
	$(BIN)/python -m tests.bench.latency

catchup: setup  ## A member missed 10,000 messages and one of its three peers lies; 40 ms round trip.
	$(BIN)/python -m tests.bench.catch_up

pairing: setup  ## Two homes linked by each carrier, five times each, timed.
	$(BIN)/python -m tests.bench.pairing

introduce: setup  ## A newcomer paired by hand with one of seven: how long until it is linked to all.
	$(BIN)/python -m tests.bench.introduce

bench-hub: setup  ## Our hub and npm's signalhub side by side: requests, latency, fan-out, memory.
	[ -d tests/e2e/signalhub/node_modules ] || npm ci --prefix tests/e2e/signalhub --no-audit --no-fund --ignore-scripts --silent
	$(BIN)/python -m tests.bench.hub

paths: setup  ## Path x carrier: linked in how long, or what is said of it; NATs and TURN, needs root and coturn.
	$(BIN)/python -m tests.bench.paths

meet: setup  ## Two strangers at one hub, timed: from a common start, and with one that waits already.
	$(BIN)/python -m tests.bench.meet

clean:  ## Remove the environment and every cache.
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
