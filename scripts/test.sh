#!/usr/bin/env bash
# Installs what the tests need into .venv and runs them: style, types, tests and doctests.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
install "[dev]"
cd "$root"
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
# Two processes of one thread each: faster on two cores than one process of two.
OMP_NUM_THREADS=1 "$venv/bin/pytest" -n 2 -q "$@"
