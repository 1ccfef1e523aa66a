# Everything a user runs. Needs Python 3.11+, git and make; uv and all else comes from PyPI into .venv.
PYTHON ?= python3
UV := .venv/bin/uv
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.venv/.ready: pyproject.toml uv.lock
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@test -x $(UV) || .venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(UV) sync --frozen --quiet
	@touch $@

setup: .venv/.ready  ## make .venv with the locked dependencies

.PHONY: help setup
