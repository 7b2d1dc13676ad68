# Every target is one short command; `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup demo up test unit integration scenario browser netns check fix bench lock spec clean

BIN    := .venv/bin
PYTEST := $(BIN)/python -m pytest -rs
CODE   := contracts runtime anchor gateway functions tests
ARGS   ?=
COMPILE := $(BIN)/uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --annotation-style line --custom-compile-command "make lock" $(ARGS)

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do printf '%-12s %s\n' "$$name" "$$text"; done

setup: ## make .venv from the lock files (nothing to do when it already matches)
	@.ci/setup

demo: setup ## start a whole network here, deploy the bundles and measure (ARGS=--once: then stop)
	@$(BIN)/mmn demo $(ARGS)

up: setup ## start a whole network here and keep it running
	@$(BIN)/mmn up $(ARGS)

test: setup ## run every layer of tests but the benchmarks (MMN_NO_SKIP=1: a skip is a failure)
	@$(PYTEST) tests functions --ignore=tests/benchmark $(ARGS)

unit: setup ## tests that need no network and no process, and the bundles' own
	@$(PYTEST) tests/unit functions $(ARGS)

integration: setup ## one component against a real nats-server
	@$(PYTEST) tests/integration $(ARGS)

scenario: setup ## the whole network in processes
	@$(PYTEST) tests/scenario $(ARGS)

browser: setup ## the web page in Chromium
	@$(PYTEST) tests/browser $(ARGS)

netns: setup ## accuracy in network namespaces (needs root)
	@$(PYTEST) tests/netns $(ARGS)

bench: setup ## benchmarks: numbers are reported, never asserted (use a quiet machine)
	@$(PYTEST) tests/benchmark --timeout=0 $(ARGS)

check: setup ## lint, formatting, types and import rules
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

fix: setup ## repair what the linter and the formatter can repair
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

lock: setup ## remake the lock files from pyproject.toml (ARGS=--upgrade: take newer versions)
	$(COMPILE) pyproject.toml -o requirements.lock >/dev/null
	$(COMPILE) pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock >/dev/null
	printf 'uv\nsetuptools\n' | $(COMPILE) - --no-annotate -c requirements-dev.lock -o requirements-bootstrap.lock >/dev/null

spec: setup ## remake contracts/spec from the code
	@$(BIN)/python -m contracts.spec

clean: ## remove .venv, caches and build products
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
