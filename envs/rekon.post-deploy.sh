#!/usr/bin/env bash
# Snakemake runs this once in a fresh conda environment, from the repository's root: the package itself.
set -euo pipefail
python -m pip install --no-deps -e .
