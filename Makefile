# Every command that people and CI type. `make` alone lists them.

PYTHON ?= python3
BIN := .venv/bin
CLUSTER ?= kubeembed
TEST_CLUSTER := kubeembed-test
# A cluster of your own for `make demo CONTEXT=...`; none: dev/cluster makes one on this machine.
CONTEXT ?=
PYTEST ?= $(BIN)/pytest
# Of a test that needs something beside this environment: see `markers` in pyproject.toml.
NEEDY := apiserver or cluster or gpu or stores or programs or keda

.DEFAULT_GOAL := help
.PHONY: help setup check test test-unit test-runtime test-others test-stores test-programs test-cluster test-keda cluster cluster-down demo images bench lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: .venv/.ready ## Make the Python environment in .venv from the lock file

.venv/.ready: locks/dev.txt pyproject.toml
	@echo "==> Python environment in .venv (about 5 GB: torch and its CUDA libraries)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip sync --require-hashes --python $(BIN)/python locks/dev.txt
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	@touch $@

check: setup ## Format, lint, types, imports, words of the pages: what must be green for each commit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy dev/cluster
	$(BIN)/mypy dev/images
	$(BIN)/lint-imports --no-cache
	$(BIN)/yamllint --strict .
	$(PYTEST) --quiet tests/api/test_docs.py

# Two at a time, because most of them wait; but nothing beside the cluster, which has clocks of its own.
test: check ## All tests: units, object stores, a browser, a real API server, the real node
	$(MAKE) --jobs=2 test-others test-runtime test-stores test-programs
	$(MAKE) test-cluster

test-unit: setup ## The tests that need no cluster, in a few minutes
	$(MAKE) --jobs=2 test-others test-runtime

test-runtime: setup
	$(PYTEST) -m "not ($(NEEDY))" tests/runtime

test-others: setup
	$(PYTEST) -m "not ($(NEEDY))" tests --ignore=tests/runtime

test-stores: setup ## Fetches from real object stores, which Go and npm build or install the first time
	$(PYTEST) -m stores

test-programs: setup ## The page in a real browser, alerts in a real Prometheus: apt brings both the first time (root, Debian)
	$(PYTEST) -m programs tests/gateway tests/chart

test-cluster: setup images ## The tests on a real Kubernetes, which is made for them and removed
	$(PYTHON) dev/cluster down $(TEST_CLUSTER)
	$(PYTHON) dev/cluster up $(TEST_CLUSTER) --audit --gpus 4
	KUBEEMBED_CLUSTER=$(TEST_CLUSTER) $(PYTEST) -m "apiserver or cluster" --durations=15; \
	  result=$$?; $(PYTHON) dev/cluster down $(TEST_CLUSTER); exit $$result

test-keda: setup images ## Scaling by the real KEDA on the real node; Go builds KEDA the first time, which is not part of `make test`
	$(PYTHON) dev/cluster down $(TEST_CLUSTER)
	$(PYTHON) dev/cluster up $(TEST_CLUSTER) --audit
	KUBEEMBED_CLUSTER=$(TEST_CLUSTER) $(PYTEST) -m keda tests/node; \
	  result=$$?; $(PYTHON) dev/cluster down $(TEST_CLUSTER); exit $$result

cluster: ## Start a real single-node Kubernetes on this machine (root, Linux)
	$(PYTHON) dev/cluster up $(CLUSTER) --audit --gpus 4

cluster-down: ## Remove that cluster and all that it holds
	$(PYTHON) dev/cluster down $(CLUSTER)

images: ## Build the control and runtime images from the Dockerfile
	$(PYTHON) dev/images build

demo: setup ## The main job, end to end: one document becomes an embedding service
	$(BIN)/python dev/demo.py $(if $(CONTEXT),--context $(CONTEXT),--cluster $(CLUSTER))

bench: setup ## Measure, for half an hour; figures go to benchmarks/RESULTS.md, plots beside them in the cache
	$(BIN)/python benchmarks/compare.py --rounds 5
	$(BIN)/python benchmarks/start.py --rounds 3
	$(BIN)/python benchmarks/stages.py
	$(BIN)/python benchmarks/encode.py --threads 2
	$(BIN)/python benchmarks/adapters.py --threads 1 --dtype float32
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/reconcile.py --cluster kubeembed-bench
	$(PYTHON) dev/cluster down kubeembed-bench

lock: ## Resolve the dependencies anew and write locks/
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links --all-extras --group dev pyproject.toml -o locks/dev.txt
	$(PYTHON) dev/images locks

clean: cluster-down ## Remove the cluster and the Python environment
	rm -rf .venv
