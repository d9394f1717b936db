# Todoku: everything a newcomer needs is `make demo` and `make test`.
# Both work alone on a fresh machine with Python 3.11 or newer; `make help` lists the rest.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PYTEST_ARGS ?=
# Most tests wait most of the time, so one worker more than there are cores; each has engines and a home of its own.
TEST_WORKERS ?= $(shell echo $$(( $$(nproc 2>/dev/null || echo 1) + 1 )))
SEEDS ?= 1000
FIRST ?= 0

.PHONY: help demo test check chaos simulate fuzz fmt messages clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## Start a sample restaurant group, with pages to look at; Ctrl-C ends it
	@$(BIN)/todoku demo

test: $(VENV)/.dev .tools ## Run every test there is, against real engines
	@$(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: $(VENV)/.dev ## Lint, types, arrows between rooms, links in the docs
	@$(BIN)/ruff check src tests bench
	@$(BIN)/ruff format --check src tests bench
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/mypy src tests bench
	@$(BIN)/python -m pytest -q tests/unit/docs

ROUNDS ?= 200
chaos: $(VENV)/.dev ## Kill and pause everything while twenty runs send: make chaos ROUNDS=200
	@$(BIN)/python -m tests.chaos.everything --rounds $(ROUNDS)

simulate: $(VENV)/.dev ## Play SEEDS made-up worlds with real senders in them, from FIRST on
	@$(BIN)/python -m todoku.delivery.simulation --seeds $(SEEDS) --first $(FIRST)

SECONDS ?= 600
fuzz: $(VENV)/.dev ## Read mails that are wrong on purpose: make fuzz SECONDS=600, seeds from FIRST on
	@$(BIN)/python -m tests.torture --seconds $(SECONDS) --first $(FIRST)

fmt: $(VENV)/.dev ## Put the code into its form
	@$(BIN)/ruff check --fix src tests bench
	@$(BIN)/ruff format src tests bench

messages: $(VENV)/.dev ## Gather texts and compile the translations
	@$(BIN)/python -m todoku.web.catalog

clean: ## Remove the environment and the caches, never data
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo 'Todoku needs Python 3.11 or newer with its venv module (Debian: apt install python3 python3-venv).' >&2; exit 1; }
	@echo 'Making $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	@echo 'Installing Todoku and the engines it embeds (about a minute, once)'
	@$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo 'Installing what the tests need'
	@$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

.PHONY: .tools
.tools:
	@./tests/bring-tools
