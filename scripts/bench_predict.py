"""How fast `predict` is on many small files, and how much memory it takes.

python scripts/bench_predict.py --images 1000 100000

The files are hard links to a few photographs of 64x64 pixels, in a temporary folder, a thousand a
folder; the model is an untrained one. Time and memory are those of the whole command, start
included, each in a process of its own.
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

FACES = 20  # different photographs
FOLDER = 1000  # files in a folder

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
    """Smooth noise as JPEGs of some kB, and links to them."""
    random = np.random.default_rng(0)
    faces = []
    folder.mkdir()
    for k in range(FACES):
        coarse = random.integers(0, 256, (side // 4, side // 4, 3)).astype(np.uint8)
        faces.append(folder / f".face-{k}.jpg")  # hidden, so not predicted
        Image.fromarray(coarse).resize((side, side)).save(faces[-1], quality=90)
    for number in range(count):
        place = folder / f"{number // FOLDER:05d}"
        if number % FOLDER == 0:
            place.mkdir()
        os.link(faces[number % FACES], place / f"{number:07d}.jpg")


def measure(run: Path, images: Path, out: Path) -> tuple[float, float, int]:
    """Seconds by the clock, seconds of one core, and MiB, of one call of `predict`."""
    words = [sys.executable, "-c", MEASURE, "predict", str(run), str(images), "--out", str(out)]
    started, used = time.monotonic(), cores()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found = re.search(r"MiB (\d+)", done.stdout)
    assert found is not None
    return seconds, cores() - used, int(found[1])


def cores() -> float:
    """Seconds of one core that ended processes took, which does not hang on what else runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run() -> None:
    """Print a table, a line as soon as it is known."""
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
            place = Path(temporary)
            write_files(place / "images", count, options.side)
            for backbone in options.backbones:
                model = untrained_run(place / backbone, backbone, options.side)
                out = place / f"{backbone}.{options.kind}"
                seconds, used, memory = measure(model, place / "images", out)
                size = out.stat().st_size / 1e6
                cells = (seconds, count / seconds, used, memory, size)
                numbers = " | ".join(f"{cell:.0f}" for cell in cells)
                print(f"| {backbone} | {count} | {numbers} |", flush=True)


if __name__ == "__main__":
    run()
