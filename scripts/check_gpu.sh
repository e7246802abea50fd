#!/usr/bin/env bash
# Runs on a machine with a GPU what tests and benchmarks on the CPU cannot show.
# scripts/check_gpu.sh OUT PETS CIFAR10   two folders of images; over 8 minutes, logs in OUT
set -uo pipefail
mkdir -p "$1"
out=$(realpath "$1") pets=$(realpath "$2") cifar=$(realpath "$3")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONUNBUFFERED=1
work=$(mktemp -d)

# Runs a command with a time limit in seconds, writes its log, and prints its end.
step() {
  local name=$1 limit=$2 started=$SECONDS
  shift 2
  timeout "$limit" "$@" >"$out/$name.log" 2>&1
  echo "== $name: exit $?, $((SECONDS - started)) s"
  grep -v '^ *$' "$out/$name.log" | tail -n "${LINES_SHOWN:-6}" | cut -c -200
}

vision_attn="python3 -m vision_attn"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
step tests 240 python3 -m pytest -q -m gpu -p no:cacheprovider tests/test_gpu.py
step quickstart 150 python3 scripts/quickstart.py "$work/quickstart"
step pets 240 $vision_attn fit --data "$pets" --run_dir "$work/pets"
step pets_tuned 300 $vision_attn fit --data "$pets" --tune full --run_dir "$work/tuned"
step evaluate 60 $vision_attn evaluate "$work/pets" --explainers evidence,contrast,grad_cam --out "$work/scores"
step cifar10 150 $vision_attn fit --config cifar10_speed --data "$cifar" --run_dir "$work/cifar10"
step ddp 150 $vision_attn fit --config cifar10_speed --data "$cifar" --run_dir "$work/ddp" \
  --epochs 2 --trainer.strategy ddp --trainer.devices 1
LINES_SHOWN=40 step poolings 90 python3 scripts/bench_pooling.py --device cuda --image_size 224 --batch_size 256
LINES_SHOWN=40 step explainers 60 python3 scripts/bench_explainers.py --device cuda --image_size 224 --min_grid 7
rm -rf "$work"
