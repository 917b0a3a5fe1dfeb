# One vocabulary for people, hooks and CI. `make` alone prints this help.

VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready
# The newest Python here that will do and runs: a name on the path may be a shim of pyenv's with no Python behind it.
# Looked for once, and only when it is needed. Name another one with: make PYTHON=/path/to/python3.12 …
FITS   := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(eval PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c '$(FITS)' 2>/dev/null && { echo $$p; break; }; done))$(PYTHON)
# Compiled bytecode is a third of the stack's start and of every task's.
unexport PYTHONDONTWRITEBYTECODE

# LightGBM wants the system's OpenMP library. Where there is none, it gets the one that scikit-learn carries.
OPENMP := $(abspath $(VENV))/lib/openmp
export LD_LIBRARY_PATH := $(OPENMP)$(if $(LD_LIBRARY_PATH),:$(LD_LIBRARY_PATH))

# On two cores four workers were a tenth faster than three. The slowest tests are listed, all durations kept.
REPORTS := $(CURDIR)/.cache/reports
WORKERS := -n 4 --dist loadgroup --no-loadscope-reorder
PYTEST  := $(BIN)/pytest $(WORKERS) --durations=40
# Some of the tests, or more options: make test ONLY="tests/unit/core -k constant"
ONLY    :=

.DEFAULT_GOAL := help
.PHONY: help install demo test soak coverage up down status lint bench lock clean

help:  ## Print this help
	@echo "Perennial keeps models fresh. Nothing is needed before but Python 3.11, 3.12 or 3.13, git and make."; echo
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

install: $(READY)  ## Install everything into .venv; the others do it by themselves

demo: $(READY)  ## From nothing to a champion that serves, trained on real flights; leaves the stack running
	$(BIN)/perennial demo

test: $(READY)  ## Prove everything once, against real services on free ports
	$(PYTEST) -m "not soak" $(or $(ONLY),--junitxml $(REPORTS)/test.xml)

soak: $(READY)  ## Prove at length what is a matter of chance, or a matrix of cases
	$(PYTEST) -n 3 -m soak $(or $(ONLY),--junitxml $(REPORTS)/soak.xml)

coverage: $(READY)  ## Run `make test` and say which lines and branches of include/ and bentos/ it reached
	@rm -rf $(REPORTS)/coverage && mkdir -p $(REPORTS)/coverage
	COVERED=$(CURDIR) COVERAGE_FILE=$(REPORTS)/coverage/data $(BIN)/coverage run -m \
	  pytest $(WORKERS) -W ignore::coverage.exceptions.CoverageWarning -m "not soak"
	@cd $(REPORTS)/coverage && COVERED=$(CURDIR) COVERAGE_FILE=data $(abspath $(BIN))/coverage combine --quiet --rcfile $(CURDIR)/pyproject.toml
	@COVERED=$(CURDIR) COVERAGE_FILE=$(REPORTS)/coverage/data $(BIN)/coverage report

up: $(READY)  ## Start the stack
	$(BIN)/perennial up

down: $(READY)  ## Stop the stack; what it has stored stays
	$(BIN)/perennial down

status: $(READY)  ## Show every service, its health and its address
	$(BIN)/perennial status

lint: $(READY)  ## Check style, formatting, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## Run the measurements of benchmarks/
	@set -e; for file in benchmarks/*/bench_*.py; do echo "== $$file"; $(BIN)/python $$file; done

lock: $(READY)  ## Pin requirements.in into requirements.txt, with a hash for each file
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  requirements.in -o requirements.txt

clean:  ## Stop the stack, remove the environment and the caches; var/, which holds the data, stays
	@if [ -x $(BIN)/perennial ]; then $(BIN)/perennial down; fi
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find include dags plugins bentos tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# Made once, and again when what it is made of changes. pip only brings the lock's own uv, which installs the rest in a tenth of
# pip's time; `uv venv` is for a Python that came without venv. An environment without pip gets it, as somebody may be using it:
# only one without a Python is made from nothing.
$(READY): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 here (python3 is $$(python3 -V 2>&1 || true))"; \
	  echo "  → install one, or name it: make PYTHON=/path/to/python3.12"; exit 1; } >&2
	@$(PYTHON) -c '$(FITS)' || { echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1); Perennial runs on 3.11, 3.12 and 3.13"; \
	  echo "  → name another one: make PYTHON=/path/to/python3.12"; exit 1; } >&2
	@command -v git >/dev/null || { echo "error: git is missing, which keeps the versions of the training data"; exit 1; } >&2
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade >/dev/null 2>&1 || \
	  uv pip install --quiet --python $(BIN)/python pip 2>/dev/null || \
	  { ! $(BIN)/python -c '' 2>/dev/null && { $(PYTHON) -m venv --clear $(VENV) || \
	  uv venv --quiet --clear --seed --no-python-downloads --python $(PYTHON) $(VENV); }; } || { \
	  echo "error: $(PYTHON) cannot make an environment"; echo "  → on Debian and Ubuntu: apt install python3-venv"; exit 1; } >&2
	sed -n '/^uv==/,/[^\]$$/p' requirements.txt | \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r /dev/stdin
	$(BIN)/uv pip install --quiet --compile-bytecode --require-hashes --python $(BIN)/python -r requirements.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .
	@$(BIN)/python -m compileall -q include
	@$(BIN)/python -c 'import lightgbm' 2>/dev/null || { mkdir -p $(OPENMP); \
	  ln -sf $(abspath $(VENV))/lib/python3*/site-packages/scikit_learn.libs/libgomp-*.so* $(OPENMP)/libgomp.so.1; \
	  $(BIN)/python -c 'import lightgbm'; }
	@touch $@
