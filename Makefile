# Everything is one word: `make help` lists them. `make demo` and `make test` need nothing done before.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

##@ Use

.PHONY: demo
demo: $(INSTALLED) ## train, export, serve and call a real policy; ARGS=--keep leaves it up
	@$(BIN)/steersman demo $(ARGS)

.PHONY: setup
setup: $(INSTALLED) ## make .venv and install everything in it; the others do it by themselves

##@ Develop

.PHONY: test
test: $(INSTALLED) ## run every test
	@tools/setup_postgres.sh
	@$(BIN)/pytest -n auto --maxprocesses 8 --dist loadfile $(ARGS)

.PHONY: fuzz
fuzz: $(INSTALLED) ## hostile requests over the wire, other ones each time, for MINUTES
	@until=$$(( $$(date +%s) + 60 * $(MINUTES) )); while [ $$(date +%s) -lt $$until ]; do \
		FUZZ_EXAMPLES=500 env -u CI $(BIN)/pytest -q tests/fuzz $(ARGS); done

.PHONY: soak
soak: $(INSTALLED) ## load, swaps, kills and scrapes on two replicas for MINUTES, and what must hold
	@$(BIN)/python -m tools.soak --minutes $(MINUTES) $(ARGS)

.PHONY: check
check: lint types imports proto-check sizes ## all static checks: the next seven

.PHONY: lint
lint: $(INSTALLED) ## ruff: format and rules
	@$(BIN)/ruff format --check . || { echo "\`make format\` mends it"; exit 1; }
	@$(BIN)/ruff check .

.PHONY: types
types: mypy pyright ## the next two

.PHONY: mypy
mypy: $(INSTALLED) ## mypy, strict
	@$(BIN)/mypy

.PHONY: pyright
pyright: $(INSTALLED) ## pyright
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

.PHONY: imports
imports: $(INSTALLED) ## import-linter: which part may import which
	@$(BIN)/lint-imports --no-logo

.PHONY: proto-check
proto-check: $(INSTALLED) ## the generated code is what the protos give
	@$(BIN)/python tools/generate_protos.py --check

.PHONY: sizes
sizes: $(INSTALLED) ## size caps and house rules
	@$(BIN)/python tools/check_sizes.py

.PHONY: format
format: $(INSTALLED) ## rewrite with ruff: format, and what it can mend
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: proto
proto: $(INSTALLED) ## generate the Python code of the protos
	@$(BIN)/python tools/generate_protos.py

.PHONY: wheel-test
wheel-test: $(INSTALLED) ## build the wheel, install it as the image does, serve and call with it
	@$(BIN)/python tools/wheel_test.py $(ARGS)

.PHONY: demo-check
demo-check: $(INSTALLED) ## run the demo, and compare what it prints with the README
	@mkdir -p build
	@$(BIN)/steersman demo $(ARGS) | tee build/demo.txt
	@$(BIN)/python tools/readme_demo.py build/demo.txt

.PHONY: example
example: $(INSTALLED) ## train, serve and drive a pump with and without the shield; build/example/pump.png
	@$(BIN)/python examples/pump/run.py $(ARGS)

.PHONY: export-coverage
export-coverage: $(INSTALLED) ## train and export models of every kind, write docs/export-coverage.md
	@$(BIN)/python -m tools.export_coverage $(ARGS)

.PHONY: bench
bench: $(INSTALLED) ## measure the server: calls per second, latency, CPU per call (needs h2load)
	@command -v h2load >/dev/null || { echo "h2load is missing. Debian, Ubuntu: apt-get install nghttp2-client;" \
		"macOS: brew install nghttp2"; exit 2; }
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-peers
bench-peers: $(INSTALLED) ## measure Triton, MLServer, KServe, Ray Serve, BentoML and LitServe beside it
	@$(BIN)/python -m benchmarks.peers $(ARGS)

.PHONY: constraints
constraints: ## resolve all dependencies anew and pin them in constraints.txt
	@tools/pin_constraints.sh

.PHONY: ci
ci: ## what CI runs, in its order
	@.ci/run

.PHONY: clean
clean: ## remove what building and testing left
	@rm -rf build dist .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## remove .venv too
	@rm -rf $(VENV)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^#: / { print "  " substr($$0, 4) } \
		/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo

##@ Variables (make TARGET NAME=VALUE, or from the environment)

#: ARGS             for the command: make test ARGS="-k mask -x", make demo ARGS=--keep
ARGS ?=
#: MINUTES          how long `make fuzz` and `make soak` go on: 10
MINUTES ?= 10
#: PYTHON           the Python, 3.11 or newer, that .venv is made with: python3
export PYTHON ?= python3
#: TORCH            the torch that is installed: the one that constraints.txt pins
export TORCH ?=
#: TORCH_INDEX_URL  where torch comes from, to pick another build; the small one without CUDA:
#:                  https://download.pytorch.org/whl/cpu
export TORCH_INDEX_URL ?=

$(INSTALLED): pyproject.toml constraints.txt
	@tools/setup_venv.sh $(VENV)
	@touch $@
