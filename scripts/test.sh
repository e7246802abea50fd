#!/usr/bin/env bash
# Installs the test dependencies into .venv and runs style checks, type checks, tests and doctests.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
install "[dev]"
cd "$root"
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
# Two processes with one thread each are faster on two cores than one process with two threads.
OMP_NUM_THREADS=1 "$venv/bin/pytest" -n 2 -q "$@"
