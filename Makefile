# Nothing but make and Python 3.11 or newer is needed: `make demo` or `make test` in a fresh clone.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
# As many processes as there are cores; worksteal, as the tests take very different times.
PYTEST ?= pytest -n auto --dist worksteal
ARGS   ?=
SECONDS ?= 60
TARGETS ?=
ZOOKEEPER_JAR := /usr/share/java/zookeeper.jar

# Coverage of the processes that the tests start: see "Measuring subprocesses" in its manual.
COVERAGE_ENV = COVERAGE_FILE="$(CURDIR)/.coverage" COVERAGE_PROCESS_START="$(CURDIR)/pyproject.toml"

.DEFAULT_GOAL := help
.PHONY: help demo venv install test test-interop chaos soak fuzz lint types check bench clean zookeeper node

help:
	@echo "make demo     four processes share one database client, and survive their leader's death;"
	@echo "              ARGS='--port 7800 --backend trio' goes to it"
	@echo "make test     the whole suite, with coverage; ARGS='-k name' goes to pytest"
	@echo "make test-interop  the tests with Node processes only, without coverage"
	@echo "make chaos    processes killed, frozen, cut off and lied to, against a model of what callers"
	@echo "              may see; ARGS='--seconds 60 --seed 1 --seeds 10', ARGS='--plant resend'"
	@echo "make fuzz     random input for all that reads what a peer sends, guided by coverage;"
	@echo "              SECONDS=600 for each target, TARGETS='leader msgpack' for a choice"
	@echo "make soak     a steady load for MINUTES=15: memory, descriptors, tasks, threads stay flat"
	@echo "make lint     ruff"
	@echo "make types    mypy and pyright"
	@echo "make check    lint, types and test"
	@echo "make install  $(VENV) with all that is needed for development"
	@echo "make bench    ours and its peers, measured side by side; QUICK=1 for a look,"
	@echo "              ARGS='--only calls --contenders ours-asyncio,node' for a choice"
	@echo "make clean    remove $(VENV) and everything that was generated"

demo: $(VENV)/.demo
	@$(BIN)/cluster-client demo $(ARGS)

venv: $(BIN)/python
install: $(VENV)/.dev

test: $(VENV)/.dev zookeeper node
	@rm -f .coverage .coverage.*
	@$(COVERAGE_ENV) $(BIN)/python -W error -m coverage run -m $(PYTEST) $(ARGS)
	@$(COVERAGE_ENV) $(BIN)/python -m coverage combine --quiet
	@$(COVERAGE_ENV) $(BIN)/python -m coverage report

test-interop: $(VENV)/.dev node
	@$(BIN)/python -W error -m $(PYTEST) tests/interop $(ARGS)

# Their modules are those of the tests.
FAULTS_ENV = PYTHONPATH="$(CURDIR)/tests:$(CURDIR)/examples:$(CURDIR)/protocol"
MINUTES ?= 15

chaos: $(VENV)/.dev
	@$(FAULTS_ENV) $(BIN)/python -m faults.chaos $(ARGS)

# What was learned is kept in .fuzz, and the next run goes on from there.
fuzz: $(VENV)/.fuzz
	@PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(SECONDS) $(TARGETS:%=--target %) $(ARGS)

soak: $(VENV)/.dev
	@$(FAULTS_ENV) $(BIN)/python -m faults.soak --minutes $(MINUTES) $(ARGS)

# Debian's packages; the tests install the original of the library by themselves, with npm.
node:
	@if command -v node >/dev/null && command -v npm >/dev/null; then :; \
	elif command -v apt-get >/dev/null && test "$$(id -u)" = 0; then \
		echo "installing Node, for the tests"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null || \
			echo "Node could not be installed" >&2; \
	else \
		echo "tests with Node need node and npm" >&2; \
	fi

# Debian's package, with the Java that it needs; without it the tests of contrib/zookeeper are skipped.
zookeeper:
	@if test -e $(ZOOKEEPER_JAR); then :; \
	elif command -v apt-get >/dev/null && test "$$(id -u)" = 0; then \
		echo "installing ZooKeeper, for the tests"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends zookeeper >/dev/null || \
			echo "ZooKeeper could not be installed" >&2; \
	else \
		echo "tests with ZooKeeper need its server: apt-get install zookeeper" >&2; \
	fi

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python

check: lint types test

# The peers live in benchmarks/.env, as they are nobody's dependencies.
bench: node
	@$(PYTHON) benchmarks/install.py
	@benchmarks/.env/bin/python -m benchmarks $(if $(QUICK),--quick) $(ARGS)

clean:
	rm -rf $(VENV) .fuzz benchmarks/.env build dist htmlcov .coverage .coverage.* \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------------------

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/it" >&2; exit 1; }
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# The stamps say for which pyproject.toml the virtual environment was made.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "installing cluster-client and what the demo needs"
	@$(PIP) install -e '.[cli,trio]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing cluster-client and the tools for development"
	@$(PIP) install --upgrade 'pip>=25.1'  # the first that knows --group
	@$(PIP) install -e '.[cli,trio,uvloop,zookeeper]' --group dev
	@touch $@ $(VENV)/.demo

$(VENV)/.fuzz: $(VENV)/.dev
	@echo "installing atheris"
	@$(PIP) install --group fuzz
	@touch $@
