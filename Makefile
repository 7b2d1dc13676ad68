# Every target is one short command; `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup demo up test unit integration scenario containers browser netns web web-check picture check fix bench lock spec clean

BIN    := .venv/bin
WEB    := $(BIN)/python -P gateway/web/build.py
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

containers: setup ## the network of compose.yaml, by podman and podman-compose
	@$(BIN)/python -m tests.kit.containers
	@MMN_CONTAINERS=1 $(PYTEST) tests/scenario/test_compose.py $(ARGS)

browser: setup ## the web page in Chromium
	@$(PYTEST) tests/browser $(ARGS)

netns: setup ## accuracy in network namespaces (needs root)
	@$(PYTEST) tests/netns $(ARGS)

bench: setup ## benchmarks: numbers are reported, never asserted (use a quiet machine)
	@$(PYTEST) tests/benchmark --timeout=0 $(ARGS)

web: setup ## build the web page (set-up does, when it can reach the npm registry)
	@$(WEB) build

web-check: setup
	$(WEB) check

picture: web ## remake gateway/web/picture.png (needs Chromium)
	@$(BIN)/python -m tests.browser.picture $(ARGS)

check: setup web-check ## lint, formatting, types and import rules
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
	printf 'podman-compose\n' | $(COMPILE) - -o .ci/podman-compose.lock >/dev/null

spec: setup ## remake contracts/spec and the generated part of nats-config from the code
	@$(BIN)/python -m contracts.spec
	@$(BIN)/python -m contracts.access.describe

clean: ## remove .venv, caches and build products
	rm -rf .venv dist build gateway/web/dist gateway/web/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
