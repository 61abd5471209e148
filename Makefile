# make demo    set up once, then the whole workflow at demo scale (two CPU cores, half an hour or more)
# make test    set up once, then the tests
# make help    everything else
.DEFAULT_GOAL := help
SHELL := /bin/bash
CORES ?= 2
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-slurm lint format schemas ui report bench lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:  ## the environment in .venv; at once when it is there
	@envs/setup.sh

demo: setup  ## the whole workflow on the simulated cohort, then: are data and weights the committed ones?
	@# the report is in git, so `all` alone has nothing to do in a clone; the tracked runs are not
	$(BIN)/snakemake --cores $(CORES) --max-jobs-per-timespan 1000/10s all log_mlflow
	@$(BIN)/rekon versions runs/demo/plan.json

test: setup  ## all tests
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile $(PYTEST)

test-slurm: setup  ## the workflow on a Slurm cluster of this machine's own, and what clusters do to jobs
	@tests/cluster/install.sh
	$(BIN)/python -m pytest -n $(CORES) -m slurm tests/cluster $(PYTEST)

lint: setup  ## formatters, linters, types, Snakemake's own linter
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/snakemake --lint

format: setup  ## let the formatters rewrite
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/snakefmt Snakefile workflow

schemas: setup  ## workflow/schemas/ from src/rekon/config
	$(BIN)/rekon write-schemas workflow/schemas

ui: setup  ## the MLflow UI on all runs
	$(BIN)/rekon ui

report: setup  ## open the HTML report
	$(BIN)/rekon show-report

bench: setup  ## benchmarks: ratios against a reference, side by side in one run
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

lock:  ## resolve envs/*.in again into envs/lock.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  envs/main.in envs/dev.in -o envs/lock.txt

clean:  ## remove what the workflow made, except raw/, weights/ and reports/
	rm -rf data runs results work logs
