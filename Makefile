# Everything works on a fresh clone with Python >= 3.11, pip and make; nothing else is assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MINUTES := 3

# Suites of their own, because `make test` is for every change: what kills and cuts off, and what npm has to bring.
FAULTS := tests/faults tests/settlement $(addprefix tests/ledger/test_, \
	cluster.py sentinel.py embedded_faults.py simulation.py simulated_journal.py) tests/examples/test_several_servers.py
CLIENTS := tests/clients

.PHONY: demo test faults clients conformance soak check format clean

demo: $(READY)  ## everything on this machine: issuer, backend, store, sidecar, and a client that tries them
	$(BIN)/mcp-sidecar demo

# More processes than there are cores: much of it waits.
test: $(READY)  ## the suite, on a real Valkey (from a wheel), real HTTP and real processes
	$(BIN)/python -m pytest -n 4 $(addprefix --ignore=,$(FAULTS) $(CLIENTS))

faults: $(READY)  ## what kills, stops and cuts off: sidecars, stores, clusters; and every row of the settlement table
	$(BIN)/python -m pytest -n 4 $(FAULTS)

clients: $(READY)  ## the official clients and servers (from npm and PyPI), bare and behind the sidecar
	$(BIN)/python -m pytest -n 4 $(CLIENTS)

conformance: $(READY)  ## the official MCP conformance suite (from npm), bare and behind the sidecar
	$(BIN)/python -m tests.conformance

soak: $(READY)  ## kill and stop sidecars and store under load for MINUTES, then add everything up
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

check: $(READY)  ## lint, formatting, types, and the shipped config and policy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mcp-sidecar check --config config.yaml

format: $(READY)  ## put the code into the shape that `check` wants
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info tests/node_modules

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded,demo,test]'
	touch $@
