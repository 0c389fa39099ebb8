# `make demo` and `make test` are all that most people need; both set up what is missing first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
SRC := reelmesh scripts tests
export PROMPT ?= a small green square moving up over a black background
export PYTHONUNBUFFERED := 1
export UV_OFFLINE := 1

.PHONY: help setup demo test fmt lint types proto bench eval clean contracts-test py-test e2e

help: ## What can be made
	@grep -hE '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 18

setup: ## Install what is missing; nothing where nothing changed
	@scripts/setup.sh

demo: setup ## A prompt becomes an MP4 through the whole market: make demo PROMPT="…"
	@exec $(BIN)/reelmesh demo "$$PROMPT"

test: setup lint types contracts-test py-test ## Everything that must hold
	@echo "make test: all passed"

lint: setup
	$(BIN)/ruff check $(SRC)
	$(BIN)/ruff format --check $(SRC)
	PYTHONPATH=. $(BIN)/lint-imports --no-cache
	$(BIN)/python scripts/gen_proto.py --check

types: setup
	$(BIN)/mypy

contracts-test: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/contracts.sh lint
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/contracts.sh check
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/contracts.sh test

py-test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/unit tests/fuzz tests/integration -q -n 2 --dist loadfile
	$(BIN)/pytest tests/e2e -q

e2e: setup ## Only the tests with real processes and whole jobs
	$(BIN)/pytest tests/e2e -q

fmt: setup ## Format the sources
	$(BIN)/ruff check --fix-only --quiet $(SRC)
	$(BIN)/ruff format $(SRC)

proto: setup ## Generate the wire's modules from the .proto files
	$(BIN)/python scripts/gen_proto.py

bench: setup ## Measure; writes build/bench.json and docs/benchmarks.md
	$(BIN)/python scripts/bench.py

eval: setup ## Score the embedded model on held-out captions and on pictures
	$(BIN)/python scripts/eval_tiny_t2v.py
	$(BIN)/python scripts/eval_world.py
	$(BIN)/python scripts/eval_image_to_video.py
	$(BIN)/python scripts/eval_fourd.py
	$(BIN)/python scripts/eval_depth.py
	$(BIN)/python scripts/eval_sound.py
	$(BIN)/python scripts/eval_size.py
	$(BIN)/python scripts/eval_reuse.py

clean: ## Remove what was built, keep what was installed
	rm -rf build out dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find reelmesh scripts tests -name __pycache__ -prune -exec rm -rf {} +
