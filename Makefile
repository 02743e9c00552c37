# The two commands of the README are `make demo` and `make test`; both set up what they need first.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev native wheel demo test test-kcl bench lint lock fuzz fuzz-native sanitize simulate clean
BIN := .venv/bin
SEEDS ?= 150
# Two more than CI has cores: much of what they do is to wait, for windows to close and for leases to expire.
WORKERS ?= 4
PYTHON ?=
# Each worker takes the next test when it is free: they come by their length (tests/conftest.py). What Python compiles is
# kept, also where the environment says otherwise: many processes are started, and pytest compiles each test for itself.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder
export PYTHON

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 12

setup: ## .venv with what it takes to run (nothing to do: 0.1 s)
	@scripts/setup runtime

setup-dev: ## .venv with what it takes to run and to check
	@scripts/setup dev

native: setup ## build the native kernel of this machine anew
	@$(BIN)/python -I scripts/build_native.py --again

wheel: setup-dev ## wheels of the last commit for Linux and macOS, built twice and compared, into dist/
	$(BIN)/python -m scripts.build_wheels

demo: setup ## everything in one go: Kinesis, cache service, traffic, consumer (ARGS="--exit-when-final")
	@$(BIN)/sa-stream demo $(ARGS)

test: lint ## every check that CI runs
	$(PYTEST) --durations=10 $(ARGS)

test-kcl: setup-dev ## only the tests with the real KCL, its child processes and emulators
	$(PYTEST) tests/real/kcl $(ARGS)

lint: setup-dev ## the checks that run nothing: style, format, types, imports, unread names, sizes, containers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/python scripts/tidy.py
	$(BIN)/hadolint consumer/Dockerfile
	$(BIN)/check-jsonschema -q --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/cfn-lint consumer/ecs/service.yaml

bench: setup-dev ## measure, one JSON line a case
	@$(BIN)/python -m benchmarks $(ARGS)

fuzz: setup-dev ## a million mutated lines against the recount, or LINES=5000
	@$(BIN)/python -m tests.fuzz $(or $(LINES),1000000) $(ARGS)

fuzz-native: setup-dev ## 100 MB of mutated bytes by the kernel and without it, or MEGABYTES=5
	@$(BIN)/python -m tests.native.fuzz $(or $(MEGABYTES),100) $(ARGS)

SANITIZED := build/sanitize/kernel.so
ASAN = $(shell clang -print-file-name=libclang_rt.asan-$(shell uname -m).so)
sanitize: setup-dev ## the same under sanitizers, 20 MB (needs clang and its runtime)
	@mkdir -p $(dir $(SANITIZED))
	clang -std=c11 -g -O1 -Wno-psabi -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
	  -shared-libasan -shared -fPIC sa_stream/native/kernel.c -o $(SANITIZED)
	LD_PRELOAD=$(ASAN) ASAN_OPTIONS=detect_leaks=0 KERNEL=$(SANITIZED) $(BIN)/python -m tests.native.fuzz $(or $(MEGABYTES),20)

simulate: setup-dev ## the simulation over SEEDS=1000 seeds, or SEEDS=7:20
	@$(BIN)/python -m tests.simulation $(SEEDS) $(ARGS)

LOCK := $(BIN)/uv pip compile -q --universal --python-version 3.12 --generate-hashes --no-header --no-emit-index-url
lock: setup-dev ## pin requirements/*.in anew (UPGRADE=--upgrade for the newest versions)
	$(LOCK) $(UPGRADE) requirements/runtime.in -o requirements/runtime.txt
	$(LOCK) $(UPGRADE) requirements/build.in -o requirements/build.txt
	$(LOCK) $(UPGRADE) requirements/native.in -o requirements/native.txt
	$(LOCK) $(UPGRADE) requirements/kcl.in -c requirements/runtime.txt -o requirements/kcl.txt
	$(LOCK) $(UPGRADE) requirements/dev.in -c requirements/runtime.txt -c requirements/kcl.txt -o requirements/dev.txt

clean: ## remove .venv, caches, built libraries and the local state
	rm -rf .venv .sa-stream .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
	rm -rf sa_stream/native/kernel-*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
