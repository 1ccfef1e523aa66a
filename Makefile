# Everything a user runs. Needs Python 3.11+, git and make; uv and all else comes from PyPI into .venv.
PYTHON ?= python3
UV := .venv/bin/uv
BIN := .venv/bin
ARGS ?=
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.venv/.ready: pyproject.toml uv.lock
	@echo "== setup: .venv with the locked dependencies (the first time about 2 GB: a minute or two)"
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@test -x $(UV) || .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check uv
	@$(UV) sync --frozen --quiet
	@touch $@

setup: .venv/.ready  ## make .venv with the locked dependencies

test: setup  ## lint, types, import rules and all tests; ARGS goes to pytest
	@echo "== lint" && $(BIN)/ruff check --quiet .
	@echo "== format" && $(BIN)/ruff format --check --quiet .
	@echo "== types" && $(BIN)/mypy --no-error-summary
	@echo "== import rules" && found=$$($(BIN)/lint-imports 2>&1) || { echo "$$found"; exit 1; }
	@echo "== tests" && $(BIN)/pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder --durations=15 $(ARGS)

demo: setup  ## the whole loop on a year of real flights; ARGS=--quick for fewer weeks, ARGS=--exit to end by itself
	@$(BIN)/python -m demo $(ARGS)

up: setup  ## all services, until Ctrl-C
	@$(BIN)/trimtab up $(ARGS)

bench: setup  ## one benchmark: NAME=loop
	@$(BIN)/python -m benchmarks $(NAME) $(ARGS)

notebook: setup  ## notebooks/ in the browser (JupyterLab comes for this call alone)
	@$(UV) run --frozen --with jupyterlab jupyter lab notebooks

clean:  ## remove what tests, benchmarks and the demo left here; .venv and .trimtab stay
	@rm -rf .trimtab-demo .benchmarks .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.PHONY: help setup test demo up bench notebook clean
