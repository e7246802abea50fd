#!/usr/bin/env bash
# Installs into .venv and runs the main job on synthetic images: train, test, look.
# Can be run again: what is installed and trained is kept.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
install ""
exec "$python" "$root/scripts/quickstart.py" "$root/runs/quickstart"
