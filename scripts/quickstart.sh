#!/usr/bin/env bash
# Installs into .venv, then trains, tests and explains a model on synthetic images.
# Can be run again: an existing installation and a trained model are reused.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
install "[weights]"
exec "$python" "$root/scripts/quickstart.py" "$root/runs/quickstart"
