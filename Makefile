.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast check format bench bump mutations drills

PYTHON ?= $(shell python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v python3)
UV := $(or $(shell command -v uv),$(CURDIR)/.tools/bin/uv)
RUN := $(UV) run --no-sync
# What is generated here uses the same uv.
export PATH := $(PATH):$(CURDIR)/.tools/bin

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 :/p' $(MAKEFILE_LIST) | sed 's/ :/\t/'

setup: .venv ## install the tools that work on the template
	@$(UV) sync --quiet

.venv: | $(UV)
	@$(UV) venv --quiet $(if $(PYTHON),--python $(PYTHON))

$(CURDIR)/.tools/bin/uv:
	@python3 -m venv .tools && .tools/bin/pip install --quiet "uv>=0.13,<0.14"

demo: setup ## render with the defaults and serve the app at http://127.0.0.1:8000 (PORT=...)
	@$(RUN) cookiecutter --no-input --overwrite-if-exists --output-dir .demo . >/dev/null
	@$(MAKE) --no-print-directory -C .demo/chat-assistant run

test: check test-fast ## everything: renders, and the suite of a generated project
	@$(RUN) pytest -n 2 --dist loadfile -m "slow and not drill"

test-fast: setup ## what needs no installation: renders, budgets, refusals
	@$(RUN) pytest -n auto -m "not slow and not drill"

test-%: setup
	@$(RUN) pytest tests/test_$*.py

check: setup ## lint and formatting of the template's own code
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .

format: setup ## repair what can be repaired
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

bench: setup ## measure against the frozen baselines
	@$(UV) sync --quiet --group bench
	@$(RUN) python benchmarks/run.py $(ONLY)

drills: setup ## rehearse with real parts: Prometheus, alerts and so on (ONLY=...)
	@$(UV) sync --quiet --group bench
	@$(RUN) python drills/run.py $(ONLY)

bump: setup ## move every bound, action and image to its newest release, then run all tests
	@$(RUN) python maintenance/bump.py
	@$(MAKE) --no-print-directory setup test

mutations: setup ## remove each protection once; a test has to notice (ONLY=id,id)
	@$(RUN) python mutations/run.py $(ONLY)
