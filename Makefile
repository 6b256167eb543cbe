# Every target works on a clean checkout: it makes .venv, installs pinned packages once (stamp files), then does its job.
#   make demo PIP_FLAGS="--extra-index-url <PyTorch's CPU index>"   # a machine without GPU: the 0.2 GB torch, not the 3 GB one

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo study base test check static format lint types layers security fast all-tests soak loaders bench long clean docs pictures

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
# Bytecode is made of what is used, when it is used: compiling all of torch first takes longer.
INSTALL := $(PIP) install --progress-bar off --no-compile --constraint constraints.txt $(PIP_FLAGS)
# One compute thread a test process: two processes share the machine.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

help:  ## this list
	@grep -E '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/:.*  ## /\t/' | expand -t 12

demo: $(VENV)/.train-installed  ## install, then the four steps end to end into runs/demo (a second call does nothing)
	@$(BIN)/genixer run demo

study: $(VENV)/.train-installed  ## the long form of the demo: more steps, more seeds
	@$(BIN)/genixer run study

base: $(VENV)/.train-installed  ## train the shipped weights anew (runs/base) and put them into the package
	@$(BIN)/genixer run base
	@for model in base start clip; do \
		install -D -m 644 -t src/genixer/models/weights/$$model \
			runs/base/$$model/files/model/* runs/base/$$model/files/*.json*; done
	@for step in eyes compare; do \
		install -m 644 runs/base/$$step/files/log.jsonl src/genixer/models/weights/base/log_$$step.jsonl; done

test: $(VENV)/.dev-installed static all-tests  ## install, then every check and every test

check: $(VENV)/.dev-installed static fast  ## format, lint, types, layers, security, fast tests

static: format lint types layers security

format: $(VENV)/.dev-installed
	@$(BIN)/ruff format --check .

lint: $(VENV)/.dev-installed
	@$(BIN)/ruff check .

types: $(VENV)/.dev-installed
	@$(BIN)/mypy

layers: $(VENV)/.dev-installed
	@$(BIN)/lint-imports

security: $(VENV)/.dev-installed
	@$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src

fast: $(VENV)/.dev-installed
	@$(PYTEST) -m "not slow and not browser and not gpu"

all-tests: $(VENV)/.dev-installed
	@command -v chromium chromium-browser google-chrome >/dev/null \
		|| echo "No Chromium on this machine: the browser test does NOT run, everything else does."
	@$(PYTEST) -m "not gpu and not long" --cov --cov-report=term:skip-covered --cov-fail-under=90

long: $(VENV)/.dev-installed  ## long forms of tests of faults, one at a time
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m long tests

KILLS ?= 200
SOAK ?=
soak: $(VENV)/.dev-installed  ## kill runs KILLS (200) times a stage and count rows; SOAK="--executor ray --seed 1" for more
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.soak --kills $(KILLS) $(SOAK)

# Each trainer has demands of its own on datasets and transformers, so each has an environment of its own.
LOADERS := trl axolotl llamafactory ms-swift
PIN_trl := trl==1.16.0
PIN_axolotl := axolotl==0.19.0
PIN_llamafactory := llamafactory==0.9.5
PIN_ms-swift := ms-swift==4.6.0
loaders: $(LOADERS:%=.loaders/%/.installed)  ## install four trainers (slow, about 1 GB each) and give their own loaders our files
	@for trainer in $(LOADERS); do \
		echo "== $$trainer"; \
		PYTHONPATH=src .loaders/$$trainer/bin/python -m pytest -q --noconftest -p no:anyio -k "$${trainer//-/_}" tests/formats/test_loaders.py; done

# Genixer comes second: asked for both at once, pip searches long for versions that please the two of them.
# torchvision and torchaudio are left away: their wheels fit one build of torch, and no loader of pictures needs them.
.loaders/%/.installed:
	@echo "Installing $(PIN_$*)"
	@$(PYTHON) -m venv .loaders/$*
	@.loaders/$*/bin/python -m pip --quiet --quiet install --no-compile $(PIP_FLAGS) torch==2.13.0 $(PIN_$*)
	@.loaders/$*/bin/python -m pip --quiet --quiet install --no-compile $(PIP_FLAGS) pytest pytest-timeout .
	@.loaders/$*/bin/python -m pip uninstall --quiet --yes torchvision torchaudio
	@touch $@

docs: $(VENV)/.dev-installed  ## write docs/settings.md anew from the settings classes
	@$(BIN)/python docs/make_settings.py

RUN ?= runs/demo
pictures: $(VENV)/.dev-installed  ## take docs/*.png from the page of RUN (runs/demo); needs Chromium
	@$(BIN)/python docs/make_pictures.py $(RUN)

bench: $(VENV)/.dev-installed  ## speed and memory; prints its numbers, fails nothing
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean:  ## remove caches and the environment; runs/ stays
	rm -rf $(VENV) .loaders .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No python3 found; Genixer needs Python >= 3.11."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is too old; Genixer needs Python >= 3.11: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

# The build tools come first and pinned, so that the build needs no isolated environment with versions of its own.
$(VENV)/.train-installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing genixer[train] (pinned in constraints.txt)"
	@$(INSTALL) hatchling editables
	@$(INSTALL) --no-build-isolation --editable '.[train]'
	@touch $@

$(VENV)/.dev-installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing genixer[train,dev] (pinned in constraints.txt)"
	@$(INSTALL) hatchling editables
	@$(INSTALL) --no-build-isolation --editable '.[train,dev]'
	@touch $(VENV)/.train-installed $@
