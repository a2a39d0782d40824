# Every target sets itself up in .venv; nothing is needed beforehand but python3, git and make.
.DEFAULT_GOAL := help
.PHONY: help run test test-all lint types bench docs clean
BIN := .venv/bin
READY := .venv/.ready

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(READY) ## Run the main job: an LLM's analysis of real data, then a hostile script
	@$(BIN)/python examples/main_job.py

test: $(READY) ## Lint, types, import rules and every test
	@scripts/test

test-all: $(READY) ## The tests on every Python we support that this machine has
	@scripts/test-all

lint: $(READY) ## Style and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo

types: $(READY) ## mypy, strict
	@$(BIN)/mypy

bench: $(READY) ## Measure speed, ours beside that of others
	@$(BIN)/python -m benchmarks

docs: $(READY) ## Render the threat table of SECURITY.md, then check the documentation
	@$(BIN)/python scripts/render_threats.py
	@$(BIN)/python -m pytest -q tests/docs

clean: ## Remove what the other targets made
	rm -rf .venv out build dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml scripts/setup
	@scripts/setup .venv
	@touch $@
