# Sourced by the other scripts: creates .venv in the checkout if needed, and installs into it.
# install EXTRAS: installs the project (with extras such as "[dev]") unless it is already installed.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${VISION_ATTN_VENV:-$root/.venv}
python=$venv/bin/python

find_python() {
  for name in python3 python3.13 python3.12 python3.11 python3.14 python; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "vision-attn needs Python 3.11 or newer on the PATH" >&2
  return 1
}

install() {
  local stamp wanted
  stamp=$venv/.installed$1
  wanted=$(cksum <"$root/pyproject.toml")
  if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then return; fi
  if [[ ! -x $python ]]; then
    local base
    base=$(find_python)
    echo "creating $venv ($("$base" --version))"
    "$base" -m venv "$venv"
  fi
  echo "installing (PyTorch is large: this takes a few minutes the first time)"
  "$python" -m pip install --quiet --disable-pip-version-check --editable "$root$1"
  echo "$wanted" >"$stamp"
}
