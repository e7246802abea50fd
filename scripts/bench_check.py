"""Benchmark of `check`: files per second and peak memory on many small files.

python scripts/bench_check.py --files 100000 --folder /tmp/many

Draws the files once (JPEG, random smooth colors, 64x64 pixels, 20 classes, split 9 to 1), then runs
the command in a separate process, so that only its own memory is measured.
"""

import argparse
import io
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

CLASSES = 20


def draw(folder: Path, files: int, side: int) -> None:
    """Write the image files that do not exist yet."""
    for split in ("train", "val"):
        for name in range(CLASSES):
            (folder / split / f"{name:02d}").mkdir(parents=True, exist_ok=True)
    for index in track(range(files), "drawing"):
        split = "val" if index // CLASSES % 10 == 0 else "train"
        path = folder / split / f"{index % CLASSES:02d}" / f"{index:06d}.jpg"
        if not path.exists():
            path.write_bytes(jpeg(index, side))


def jpeg(seed: int, side: int) -> bytes:
    """A smooth random image as JPEG bytes."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (7, 7, 3)).astype(np.uint8))
    file = io.BytesIO()
    small.resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def main() -> None:
    """Draw the images, run the check, and print time and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64, help="height and width in pixels")
    parser.add_argument("--folder", type=Path, required=True, help="where the files are written")
    options = parser.parse_args()
    draw(options.folder, options.files, options.side)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "vision_attn", "check", str(options.folder)], check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode == 2:
        sys.exit("check could not be run")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{options.files} files in {seconds:.1f} s: {options.files / seconds:.0f} files/s")
    print(f"peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
