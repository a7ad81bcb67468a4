# Every target does the set-up that it needs: a machine with Python >= 3.11, pip, make and git is enough.
#
#   make quickstart   base against tuned, on tasks seen and never seen: runs/quickstart/report.html
#   make test         the tests            make soak    the long ones, with full counts
#   make check        format, lint, types, imports, docs in step
#   make studies      the studies on the embedded bases: docs/studies (about an hour; studies-quick 10 minutes)
#   make bench        instil beside its peer, same work, same machine, one run

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/installed.stamp
PEER := .venv-peer
PEER_STAMP := $(PEER)/installed.stamp

# An environment that a person has activated, or a PYTHONPATH of theirs, must not leak into this one.
unexport PYTHONPATH
unexport VIRTUAL_ENV

.PHONY: help setup setup-system quickstart studies studies-quick studies-full pocket-base pocket-ladder test soak check format docs bench bench-peer bench-imports dist clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: $(STAMP)  ## the virtual environment alone, all extras, pinned

# Made again whenever the pins or the project's metadata change; torch first, so that nothing else draws another build.
$(STAMP): pyproject.toml constraints.txt tools/make_venv.sh
	@PYTHON="$(PYTHON)" bash tools/make_venv.sh $(VENV)
	$(PY) -m pip install --quiet -c constraints.txt torch
	$(PY) -m pip install --quiet -c constraints.txt -e '.[all]'
	$(PY) -m pip check
	@touch $@

setup-system:  ## system parts that tests use (Chromium); says what it needs where it may not install
	@bash tools/setup_system.sh

quickstart: $(STAMP)  ## five minutes, offline: base against tuned, in one report
	$(VENV)/bin/instil quickstart --out runs/quickstart

# Run once, for hours: the results are the embedded base models, one for each architecture.
pocket-base: $(STAMP)  ## pre-train the three embedded base models again
	$(VENV)/bin/instil pretrain recipes/pocket-base.yaml --out runs/pocket-base
	$(VENV)/bin/instil pretrain recipes/pocket-base-seq2seq.yaml --out runs/pocket-base-seq2seq
	$(VENV)/bin/instil pretrain recipes/pocket-base-masked.yaml --out runs/pocket-base-masked

# A rung that is finished is left alone, one that was stopped goes on: run it again after an interruption.
pocket-ladder: $(STAMP)  ## pre-train bases of 0.3M, 1M and 3M parameters, three architectures (most of a day)
	@for recipe in recipes/ladder/*.yaml; do out=runs/ladder/$$(basename $$recipe .yaml); \
	  if [ -e $$out/model/model.safetensors ]; then echo "$$out is finished"; continue; fi; \
	  $(VENV)/bin/instil pretrain $$recipe --out $$out $$([ -e $$out/fingerprint.json ] && echo --resume); done

# Finished runs are never repeated: run a target again after an interruption, and it goes on.
studies: $(STAMP)  ## the studies on the embedded bases, as docs/studies shows them (at most 90 minutes on 2 cores)
	@for question in should-i scaling cot settings; do \
	  $(VENV)/bin/instil study $$question --preset pocket --out docs/studies/$$question --runs runs/studies; done
	$(VENV)/bin/instil study overview docs/studies --title "Studies on the embedded bases"

studies-quick: $(STAMP)  ## the same questions, small: runs/studies-quick (at most 10 minutes)
	@for question in should-i scaling cot settings; do \
	  $(VENV)/bin/instil study $$question --preset quick --out runs/studies-quick/$$question --runs runs/studies; done
	$(VENV)/bin/instil study overview runs/studies-quick --title "Small studies on the embedded bases"

# The scaling study asks bases of several sizes, which `make pocket-ladder` makes; without them it is refused, as the last.
studies-full: $(STAMP)  ## the whole grid, every question, three architectures: runs/studies-full (days)
	@for question in should-i cot settings sources next scaling; do \
	  $(VENV)/bin/instil study $$question --preset full --out runs/studies-full/$$question --runs runs/studies; done
	$(VENV)/bin/instil study overview runs/studies-full --title "Studies on the embedded bases, in full"

test: $(STAMP) setup-system  ## the tests, under 15 minutes
	$(PY) -m pytest -n 2 --durations=10

soak: $(STAMP) setup-system  ## what is too long for `make test`, and every property with full counts
	INSTIL_SOAK=1 $(PY) -m pytest -n 2 --durations=20 -m 'soak or hypothesis'

check: $(STAMP)  ## format, lint, types, imports, docs in step
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) tools/cli_docs.py --check

format: $(STAMP)  ## put the code in its format
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

docs: $(STAMP)  ## write docs/cli.md from the help of every verb
	$(PY) tools/cli_docs.py

bench: $(STAMP) $(PEER_STAMP)  ## instil beside TRL's best, import times, whole runs: benchmarks/RESULTS.md (about 95 minutes, quiet machine)
	$(PY) benchmarks/imports.py --write
	$(PY) benchmarks/whole.py --write
	$(PY) benchmarks/tuning.py causal --peer $(PEER)/bin/python --write
	$(PY) benchmarks/tuning.py seq2seq --peer $(PEER)/bin/python --write
	$(PY) benchmarks/tuning.py masked --peer $(PEER)/bin/python --write
	$(PY) benchmarks/memory.py --peer $(PEER)/bin/python --write
	$(PY) benchmarks/evaluation.py --write
	$(PY) benchmarks/studies.py --write
	$(PY) benchmarks/sharing.py --write
	$(PY) benchmarks/preferences.py dpo --peer $(PEER)/bin/python --write
	$(PY) benchmarks/preferences.py reward --peer $(PEER)/bin/python --write
	$(PY) benchmarks/preferences.py group --peer $(PEER)/bin/python --write
	$(PY) benchmarks/mixtures.py --peer $(PEER)/bin/python --write

bench-imports: $(STAMP)  ## import times alone
	$(PY) benchmarks/imports.py

bench-peer: $(PEER_STAMP)  ## the peer's virtual environment

$(PEER_STAMP): benchmarks/peer-requirements.txt tools/make_venv.sh
	@PYTHON="$(PYTHON)" bash tools/make_venv.sh $(PEER)
	$(PEER)/bin/python -m pip install --quiet -c constraints.txt torch
	$(PEER)/bin/python -m pip install --quiet -r benchmarks/peer-requirements.txt
	$(PEER)/bin/python -m pip check
	@touch $@

dist: $(STAMP)  ## the wheel, in dist/
	$(PY) -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove the environments, caches and builds; runs/ stays
	rm -rf $(VENV) $(PEER) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './runs/*' -prune -exec rm -rf {} +
