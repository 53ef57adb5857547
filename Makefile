# One virtual environment, .venv, made from requirements.lock; everything below runs in it.
# Needs python3 >= 3.11 with venv; another interpreter: make up PYTHON=python3.12

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
PROTOS := $(wildcard node/chordial_node/wire/*.proto)

.DEFAULT_GOAL := help
.PHONY: help up down test check format bench docs lock proto clean
.PHONY: cluster-parts cluster-up cluster-down test-cluster test-load

help:
	@echo 'make up     start a ring of five peers, place a call through it (ARGS=--once ends there)'
	@echo 'make down   stop a ring that was started with ARGS=--detach'
	@echo 'make test   run every test (ARGS="-k name" for some)'
	@echo 'make check  format, lint, types, import contracts, house rules'
	@echo 'make format put the code into the form that check asks for'
	@echo 'make bench  measure a ring (ARGS="lookup --peers 8" for one measurement)'
	@echo 'make docs   write the pages made from tests and source; make proto: generate code'
	@echo 'make test-cluster   run the tests that need Kubernetes, on three nodes of this machine'
	@echo 'make test-load      the same under a thousand phones (CHORDIAL_LOAD_PHONES=N for fewer)'
	@echo 'make cluster-parts  build what such a cluster is made of (once, 6 to 10 minutes)'
	@echo 'make cluster-up     keep one running while working (cluster-down ends it)'
	@echo 'make lock   choose versions again; make clean: forget it all'

up: .venv
	@$(BIN)/chordial up $(ARGS)

down: .venv
	@$(BIN)/chordial down $(ARGS)

test: .venv
	@$(BIN)/python -m pytest $(ARGS)

cluster-parts: .venv
	@$(BIN)/python -m tests.cluster.harness parts

cluster-up: .venv
	@$(BIN)/python -m tests.cluster.harness up

cluster-down: .venv
	@$(BIN)/python -m tests.cluster.harness down

test-cluster: .venv cluster-parts
	@$(BIN)/python -m pytest tests/cluster -m cluster --ignore=tests/cluster/load --timeout=900 $(ARGS)

# a thousand phones beside the cluster: for a machine that does nothing else meanwhile
test-load: .venv cluster-parts
	@$(BIN)/python -m pytest tests/cluster/load -m cluster --timeout=900 $(ARGS)

check: .venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_tidy.py

format: .venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv
	@$(BIN)/chordial bench $(ARGS)

# The environment is made anew when the lock changes, and registered anew when pyproject.toml does.
# A stamp is written last, so an interrupted run is repeated whole.
.PHONY: .venv
.venv: .venv/installed

.venv/locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'chordial needs Python 3.11 or later, and $(PYTHON) is' \
	    "$$($(PYTHON) --version 2>/dev/null || echo not there)."; \
	  echo 'Install one (Debian, Ubuntu: sudo apt-get install python3 python3-venv)' \
	    'or name one: make PYTHON=python3.12'; exit 1; } >&2
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo '$(PYTHON) cannot make virtual environments: its modules venv and ensurepip are missing.'; \
	  echo 'Install them (Debian, Ubuntu: sudo apt-get install python3-venv)'; exit 1; } >&2
	@echo 'making .venv from requirements.lock (once, a minute or so)'
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
	  --only-binary :all: --requirement requirements.lock
	@touch $@

.venv/installed: .venv/locked pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation --editable .
	@touch $@

lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/lock/bin/uv pip compile --quiet pyproject.toml --extra node --extra operator --extra dev --upgrade --universal \
	  --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --output-file requirements.lock
	for image in node operator; do \
	  build/lock/bin/uv pip compile --quiet pyproject.toml --extra $$image --constraint requirements.lock \
	    --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links --output-file $$image/requirements.lock || exit 1; done
	@! grep -n '://' requirements.lock node/requirements.lock operator/requirements.lock

docs: .venv
	$(BIN)/python -m tests.conformance_page
	$(BIN)/python -m tests.reference_pages
	$(BIN)/python -m tests.chart_pages
	$(BIN)/python -m tests.crd_pages
	$(BIN)/python -m tests.fleet_pages

proto: .venv
	$(BIN)/python -m grpc_tools.protoc --proto_path=node --python_out=node --pyi_out=node \
	  --grpc_python_out=node $(PROTOS)

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find node tests -name __pycache__ -type d -prune -exec rm -rf {} +
