"""Benchmark of `predict`: images per second and peak memory on many small files.

python scripts/bench_predict.py --images 1000 100000

The files are hard links to a few images of 64x64 pixels, in a temporary folder with a thousand
files per subfolder; the model is untrained. Each call of the command is a separate process; its
start-up is included in time and memory.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from untrained import untrained_run

DISTINCT = 20  # different images
FOLDER = 1000  # files per folder

MEASURE = """
import re, sys
from pathlib import Path
from vision_attn.cli.main import main
code = main(sys.argv[1:])
status = Path("/proc/self/status").read_text()
print("MiB", int(re.search("VmHWM:[^0-9]*([0-9]+)", status)[1]) // 1024)
sys.exit(code)
"""


def write_files(folder: Path, count: int, side: int) -> None:
    """Write JPEG files of smooth noise, a few kB each, and hard links to them."""
    random = np.random.default_rng(0)
    distinct = []
    folder.mkdir()
    for k in range(DISTINCT):
        coarse = random.integers(0, 256, (side // 4, side // 4, 3)).astype(np.uint8)
        distinct.append(folder / f".image-{k}.jpg")  # hidden, so not predicted
        Image.fromarray(coarse).resize((side, side)).save(distinct[-1], quality=90)
    for number in range(count):
        subfolder = folder / f"{number // FOLDER:05d}"
        if number % FOLDER == 0:
            subfolder.mkdir()
        os.link(distinct[number % DISTINCT], subfolder / f"{number:07d}.jpg")


def measure(run: Path, images: Path, out: Path) -> tuple[float, float, int]:
    """Wall-clock seconds, CPU seconds and peak memory in MiB of one call of `predict`."""
    words = [sys.executable, "-c", MEASURE, "predict", str(run), str(images), "--out", str(out)]
    started, used = time.monotonic(), cpu_seconds()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found = re.search(r"MiB (\d+)", done.stdout)
    assert found is not None
    return seconds, cpu_seconds() - used, int(found[1])


def cpu_seconds() -> float:
    """CPU seconds of finished child processes, which do not depend on other load."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run() -> None:
    """Print a Markdown table, each row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--backbones", nargs="+", default=["tiny", "resnet18"])
    parser.add_argument("--side", type=int, default=64, help="pixels of the files and the model")
    parser.add_argument("--kind", default="csv", help="csv, jsonl or parquet")
    options = parser.parse_args()
    print("| backbone | images | seconds | images/s | core seconds | peak memory, MiB | file, MB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for count in options.images:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_files(folder / "images", count, options.side)
            for backbone in options.backbones:
                model = untrained_run(folder / backbone, backbone, options.side)
                out = folder / f"{backbone}.{options.kind}"
                seconds, used, memory = measure(model, folder / "images", out)
                size = out.stat().st_size / 1e6
                cells = (seconds, count / seconds, used, memory, size)
                numbers = " | ".join(f"{cell:.0f}" for cell in cells)
                print(f"| {backbone} | {count} | {numbers} |", flush=True)


if __name__ == "__main__":
    run()
