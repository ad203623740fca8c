# One target an intention; each is a line that you could type yourself. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: dev build cy rs test lint types bench perf-gate wheels help

ifneq ($(shell command -v ccache),)
export CC := ccache gcc
endif
BASE ?= $(shell git merge-base origin/main HEAD 2>/dev/null || git rev-parse HEAD~1)

dev: ## make the environment and build everything that changed
	uv sync --locked

build: ## wheels and source distributions of both halves, in dist/
	uv build --all-packages

cy: ## rebuild the changed Cython modules only
	uv run --no-sync python setup.py build_ext --inplace

rs: ## rebuild the Rust half only, optimised and quick to link
	uv run --no-sync maturin develop --uv -m rust_ext/Cargo.toml --profile editable

test: ## build what changed, run the tests
	uv run --locked pytest

lint: ## every check of form: ruff, cython-lint, rustfmt, clippy, cargo test, the status table
	uv run --locked ci/lint

types: ## mypy --strict, and the stubs against the compiled modules
	uv run --locked ci/types

bench: ## run the benchmarks on the working tree: make bench CASE=ipam
	uv run --locked python -m bench $(CASE)

perf-gate: ## compare HEAD with BASE (a commit) in one job; fails on a slowdown
	uv run --locked python ci/perf_gate.py --base $(BASE)

wheels: ## wheels of both halves, installed and run where there is only Python
	ci/wheels

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
