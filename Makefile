# The verbs. Each long step shows progress; each can be run again at any time.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
# Where bytecode is not kept, each of hundreds of processes compiles its libraries again.
unexport PYTHONDONTWRITEBYTECODE
SOURCES := crds operator trainer-image server-image tests examples bench

.PHONY: help setup demo test check generate verify images bench test-fast test-gpu down
.PHONY: ready programs every-image

help: ## show the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what this machine lacks (Debian or Ubuntu, as root); twice does nothing
	@scripts/setup.sh

demo: setup ## distil a real teacher on a real Kubernetes, roll the student out, roll a spoilt one back
	@$(PYTHON) -m examples.embedding.demo
	@$(PYTHON) -m examples.rollout.demo

# One thread a process: with more, those of several workers wait for each other at every step.
test: ready ## every test: unit, properties, contract, real cluster, one whole story
	@OMP_NUM_THREADS=1 $(PYTHON) -m pytest --cluster -n 3

# What the tests need, minutes of it on a fresh machine. Images are made by one thread at a time, so
# they come beside the programs: the tests of the cluster, the longest of all, would wait for them.
ready:
	@scripts/setup.sh packages go uv python environment
	@$(MAKE) --no-print-directory --jobs=2 programs every-image

programs:
	@scripts/setup.sh programs

every-image:
	@$(PYTHON) -m devcluster.images build operator trainer server triton vllm

test-fast: ## the tests that need no cluster
	@$(PYTHON) -m pytest tests/unit tests/properties tests/contract

test-gpu: ## what needs an accelerator: training, strategies, NF4 weights, labels; skips what is missing
	@scripts/setup.sh uv python environment
	@$(PYTHON) -m pytest --gpu tests/gpu

check: ## lint, types, import law, generated files
	@.venv/bin/ruff format --check $(SOURCES)
	@.venv/bin/ruff check $(SOURCES)
	@.venv/bin/mypy crds/src operator/src trainer-image/src server-image/src tests/devcluster/src
	@.venv/bin/lint-imports
	@$(MAKE) --no-print-directory verify

generate: ## write what is generated: CRD, chart copy, schemas, reference pages
	@$(PYTHON) -m distill_api.generate
	@$(PYTHON) -m distill_operator.plan.diagram
	@$(PYTHON) -m distill_operator.plan.rollout.diagram
	@$(PYTHON) -m devcluster.images lock

verify: ## prove that generated files are up to date
	@$(PYTHON) -m distill_api.generate --check
	@$(PYTHON) -m distill_operator.plan.diagram --check
	@$(PYTHON) -m distill_operator.plan.rollout.diagram --check
	@$(PYTHON) -m devcluster.images lock --check

images: setup ## build the images of operator, trainer and server
	@$(PYTHON) -m devcluster.images build

bench: setup ## measure: training, its worth, serving, apply to first pod, simulated rollouts, reaction on a gateway
	@$(PYTHON) bench/run.py

down: ## take the development cluster down
	@$(PYTHON) -m devcluster down
