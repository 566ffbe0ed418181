# make demo: the whole road on a sample of Swiss-Prot.   make test: format, lint, types and tests.
# Both make .venv first. Another Python: make demo PYTHON=python3.12
# Another PLM: make demo PLM=esm2-8m

PYTHON ?= python3
VENV ?= .venv
# How `mlflow run` finds its environment: local is .venv itself; uv makes one more, without conda.
ENV_MANAGER ?= local
WORKERS ?= 2
PLM ?= plmsae-mini

export MLFLOW_TRACKING_URI ?= sqlite:///mlflow.db
export MLFLOW_DISABLE_TELEMETRY = true
export GX_ANALYTICS_ENABLED = false
# The project's own lines say what happens; MLflow's say how.
export MLFLOW_LOGGING_LEVEL ?= WARNING
export PATH := $(abspath $(VENV))/bin:$(PATH)

# An environment is ready while neither file has changed since it was made.
KEY := $(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)
READY = $(VENV)/.ready-$(KEY)
READY_TEST = $(VENV)/.ready-test-$(KEY)
LOG = $(VENV)/install.log

CHECK_PYTHON = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# $(call install,WHAT): pip with its output in a log, and one line if it fails.
define install
	@echo "installing into $(VENV); some minutes the first time (log: $(LOG)) …"
	@{ $(VENV)/bin/python -m pip install "pip>=25.1" \
	  && $(VENV)/bin/python -m pip install -c constraints.txt $(1); } >> $(LOG) 2>&1 \
	  || { why=$$(grep -E '^ *ERROR|No space left|Network is unreachable' $(LOG) | tail -n 1); \
	       echo "plmsae: cannot install: $${why:-pip stopped} (all of it: $(LOG))" >&2; exit 2; }
	@rm -f $(2); touch $@
endef

.PHONY: help demo env test test-slow lint docs site frontend-packages frontend frontend-check clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   train, evaluate, register, score, validate, fill and report; about 6 minutes"
	@echo "make test   format, lint, types and tests; make test-slow: kills, full disks, servers"
	@echo "make docs   write docs/cli.md, docs/api.md, MLproject and plmsae/__init__.pyi anew"
	@echo "make site   build the documentation site; a broken link is an error"
	@echo "make frontend  build the pages of the atlas (needs node)"
	@echo "make clean  remove .venv and caches; models, runs and results stay"

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null 2>&1 \
	  || { echo "plmsae: there is no $(PYTHON); install Python 3.11 to 3.13 or give PYTHON=…" >&2; exit 2; }
	@$(PYTHON) -c '$(CHECK_PYTHON)' 2>/dev/null \
	  || { echo "plmsae: needs Python 3.11 to 3.13 with venv (on Debian: python3-venv); $(PYTHON) is" \
	       "$$($(PYTHON) --version 2>&1 | head -n 1); give PYTHON=…" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) > /dev/null \
	  || { echo "plmsae: cannot make $(VENV); is there space on the disk?" >&2; exit 2; }

$(READY): | $(VENV)/bin/python
	$(call install,-e .,$(VENV)/.ready-*)

$(READY_TEST): | $(VENV)/bin/python
	$(call install,-e . --group dev,$(VENV)/.ready-*)
	@touch $(READY)

demo: | $(READY)
ifeq ($(ENV_MANAGER),uv)
	@# uv must find the build of torch that pip finds: it does not read pip's settings.
	@$(VENV)/bin/python -m pip download --quiet --no-deps -c constraints.txt -d $(VENV)/wheels torch
	@UV_FIND_LINKS=$(abspath $(VENV)/wheels) mlflow run . -e demo -P plm=$(PLM) --experiment-name plmsae-demo --env-manager uv
else
	@mlflow run . -e demo -P plm=$(PLM) --experiment-name plmsae-demo --env-manager $(ENV_MANAGER)
endif

env: | $(READY_TEST)

lint: | $(READY_TEST)
	ruff format --check .
	ruff check .
	mypy

PYTEST = OMP_NUM_THREADS=1 pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -q

test: lint
	$(PYTEST) -m "not slow"

# Commands that are killed or run out of disk, servers, processes that train together, Spark.
test-slow: | $(READY_TEST)
	$(PYTEST) -m slow

docs: | $(READY)
	python -m plmsae.cli.reference

$(VENV)/.ready-docs-$(KEY): | $(VENV)/bin/python
	$(call install,-e .[docs],$(VENV)/.ready-docs-*)

site: | $(VENV)/.ready-docs-$(KEY)
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

frontend-packages:
	cd frontend && npm install --no-save --no-audit --no-fund --silent

frontend: frontend-packages
	cd frontend && npm run --silent build

# Builds anew and says whether the files in the tree are those that came out.
frontend-check: frontend
	@git diff --exit-code --stat -- plmsae/atlas/static \
	  || { echo "plmsae: plmsae/atlas/static is not what frontend/ gives; commit it" >&2; exit 1; }

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
