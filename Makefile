# ChatAPI's commands. `make run` and `make test` are all that a fresh machine with Python 3.11 or newer needs.
# The system's Python where it will do: distributions build theirs with profile-guided optimisation, which saves a seventh
# of the CPU of one that was compiled without, as version managers do (docs/performance.md).
WILL_DO := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell /usr/bin/python3 -c '$(WILL_DO)' 2>/dev/null && echo /usr/bin/python3 || echo python3)
BIN := .venv/bin
STAMP := .venv/.installed
CLIENTS := .venv-clients
NODE_CLIENTS := tests/clients/node_modules
PIP := $(BIN)/python -m pip install -qq --no-input --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install run test coverage check clients fuzz proof chaos bench

help:  ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

install: $(STAMP)  ## Make .venv with all that is needed; nothing is done when nothing changed
	@:

$(STAMP): requirements.txt requirements-dev.txt requirements.in pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ChatAPI needs Python 3.11 or newer; name one: make PYTHON=python3.12 …")'
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null || { echo "Making .venv with $(PYTHON) (another one: make PYTHON=… install)"; rm -rf .venv; \
	$(PYTHON) -m venv .venv || { rm -rf .venv; $(PYTHON) -m virtualenv -q .venv; }; }
	@echo "Installing the pinned packages into .venv (about a minute the first time)"
	@$(PIP) --require-hashes -r requirements.txt -r requirements-dev.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@
	@echo "Installed"

run: install  ## Migrate and serve; without a configured upstream, with the demo upstream on loopback
	@exec scripts/run.sh

# Each of the many processes would compile all of the project again.
test coverage: export PYTHONDONTWRITEBYTECODE =
test: install  ## Run the whole test suite, PostgreSQL included
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: install  ## Run the whole test suite and show which branches it takes (a third slower)
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --cov --cov-report=term $(ARGS)

check: install  ## Check style, types and layers
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

clients: install $(CLIENTS)/.installed $(NODE_CLIENTS)/.installed  ## Try SDKs and frameworks for Python and Node against a gateway; needs npm
	@$(BIN)/python -m pytest -m clients tests/clients $(ARGS)

$(CLIENTS)/.installed: tests/clients/requirements.txt
	@test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	@echo "Installing the pinned clients into $(CLIENTS)"
	@$(CLIENTS)/bin/python -m pip install -qq --no-input --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(NODE_CLIENTS)/.installed: tests/clients/package-lock.json
	@if command -v npm >/dev/null; then npm ci --prefix tests/clients --no-audit --no-fund --loglevel=error && touch $@; \
	else echo "There is no npm: what needs Node 20.15 or newer is skipped"; fi

fuzz: install  ## Send what our OpenAPI document allows and forbids, other data each time (twelve minutes)
	@CHATAPI_FUZZ=1 $(BIN)/python -m pytest -s --timeout=300 tests/fuzz $(ARGS)

proof: install  ## Run the metering protocol's state machine with thousands of examples (most of an hour)
	@CHATAPI_PROOF=1 $(BIN)/python -m pytest --timeout=0 tests/concurrency $(ARGS)

chaos: install  ## Kill, crash, suspend, fill and restart for longer than `make test` does (most of an hour)
	@CHATAPI_CHAOS=long $(BIN)/python -m pytest -q -s --timeout=0 tests/chaos $(ARGS)

bench: install  ## Measure, for half an hour; ARGS=--quick for a few minutes
	@$(BIN)/python -m bench $(ARGS)
