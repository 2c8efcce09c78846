# Everything a person does with this repository. `make help` lists it.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help

help: ## list what make can do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.venv/.installed: requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Merch Drop needs Python 3.11 or newer; set PYTHON=/path/to/python3") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

install: .venv/.installed ## install everything into .venv, by locked hashes

up: install ## run the whole engine on this machine with a sample drop; Ctrl-C stops it
	@$(BIN)/merchdrop up

sale: install ## let a crowd of simulated buyers loose on the engine, and judge the result
	@$(BIN)/merchdrop sale

test: install ## run every test
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

bench: install ## measure the engine beside baselines; BENCH="--figure checkout --rounds 3" for a part of it
	$(BIN)/python -m loadtest.bench $(BENCH)

loadtest: install ## let k6's buyers loose on the engine; LOADTEST="--rate 300 --seconds 30" for a larger crowd
	@$(BIN)/python -m loadtest.flash_sale $(LOADTEST)

SEED ?= 1
gameday: install ## break everything on purpose while a crowd buys; SEED=7 GAMEDAY="--buyers 600 --units 60 --seconds 20"
	@$(BIN)/python -m loadtest.gameday --seed $(SEED) $(GAMEDAY)

protections: install ## switch off each of the engine's protections in turn, and see that the game day's checker reports it
	@$(BIN)/python -m loadtest.gameday.protections $(PROTECTIONS)

lint: install ## check style and types; Terraform's format where there is a terraform
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	if command -v terraform >/dev/null; then terraform -chdir=terraform fmt -check -recursive; fi

format: install ## put the code into the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	if command -v terraform >/dev/null; then terraform -chdir=terraform fmt -recursive; fi

.checkov/.installed: requirements/checkov.txt
	$(PYTHON) -m venv .checkov
	.checkov/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/checkov.txt
	touch $@

checkov: install .checkov/.installed ## hold the plans of both examples against checkov's policies (needs terraform)
	$(BIN)/python -m tests.packaging.terraform_checkov

terraform-docs: install ## write the tables in terraform/README.md
	$(BIN)/python -m tests.packaging.terraform_readme

lock: ## pin every dependency again, with hashes (needs uv)
	for name in requirements/dev functions/checkout/requirements functions/process_order/requirements functions/charge_order/requirements functions/reconcile/requirements requirements/cli requirements/checkov; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    $$(case $$name in (requirements/dev|requirements/checkov) ;; (*) echo -c requirements/dev.txt;; esac) $$name.in -o $$name.txt || exit 1; done

clean: ## remove what was installed and what the engine stored
	rm -rf .venv .checkov .data

.PHONY: help install up sale test bench loadtest gameday protections lint format checkov terraform-docs lock clean
