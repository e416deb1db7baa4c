# The only interface, for people and for CI. What needs more than three lines is in tools/<verb>.sh.
SHELL := bash
VENV ?= .venv
# One ONNX Runtime per environment: the CUDA build (which also runs without a GPU) exists for this platform only.
ORT ?= $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),gpu,cpu)
LOCK := pyproject.toml constraints.txt tools/install.sh
RUN := $(VENV)/bin/python -m
export VENV
# Every room, and every training, is a process: each would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo up test e2e bench zoo-report soak chaos check format lint types imports proto lock compose clean
.DELETE_ON_ERROR:

help: ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(VENV)/.local ## train, serve, explain and attack a digit classifier; pictures in demo/
	$(VENV)/bin/wintergarden demo

up: $(VENV)/.local ## the whole system on this machine, until Ctrl-C; data stays in .wintergarden/
	$(VENV)/bin/wintergarden up

test: $(VENV)/.test ## every test but the benchmarks
	tools/test.sh

e2e: $(VENV)/.test ## the journey alone; WINTERGARDEN_E2E_ADDRESS=host:port runs it on a system already up
	$(RUN) pytest tests/e2e

bench: $(VENV)/.test ## ratios against other servers and libraries
	$(RUN) pytest tests/bench -m bench -s

zoo-report: $(VENV)/.test ## the table of docs/zoo.md: rows without a result are trained and measured: hours
	$(VENV)/bin/python tests/bench/zoo/report.py

soak: $(VENV)/.test ## tests/load at full size, for an idle machine: hours
	WINTERGARDEN_SOAK=1 $(RUN) pytest tests/load tests/contract/open_inference/test_onnx_nodes.py -s

chaos: $(VENV)/.test ## ten minutes of killing and pausing everything that trains; WINTERGARDEN_CHAOS_SEED repeats one
	WINTERGARDEN_CHAOS=1 $(RUN) pytest tests/chaos -s

check: lint types imports proto ## what a change must pass besides the tests

format: $(VENV)/.test ## rewrite in the house's format
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

lint: $(VENV)/.test
	$(RUN) ruff format --check .
	$(RUN) ruff check .

types: $(VENV)/.test
	$(RUN) mypy

imports: $(VENV)/.test ## the import law
	$(VENV)/bin/lint-imports

proto: ## the committed descriptors and stubs are what proto/ gives; proto/generate.sh rewrites them
	tools/proto.sh

lock: ## constraints.txt anew, from what the registry has now
	tools/lock.sh

compose: $(VENV)/.test ## build, start and try the containers, then take everything down again
	tools/compose.sh

clean: ## remove what was built and installed; never your data in .wintergarden/
	rm -rf $(VENV) .tools build dist demo *.egg-info .*_cache .hypothesis .benchmarks

$(VENV)/.local: $(LOCK)
	tools/install.sh local,$(ORT) $@

$(VENV)/.test: $(LOCK)
	tools/install.sh test,$(ORT) $@
