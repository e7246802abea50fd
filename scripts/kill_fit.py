"""Kills a training at random moments, goes on, and compares its end with one left in peace.

python scripts/kill_fit.py --kills 20 --seed 0

Each trial trains on a few small images in a process of its own, which gets SIGKILL, SIGTERM or
SIGINT at a seeded moment: so long after its start, or (`while writing`) within the writing of a
checkpoint or of the weights, half of the file being there. It goes on with `--resume`, or begins
anew where nothing was kept, and may be killed again, until the kills are used up; then it runs to
its end. Its weights, its last checkpoint's weights, optimiser and schedule must be those of the run
left in peace, bit for bit. Exit code 1 if not.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
CLASSES = {"red": 40, "green": 6}  # so unequal that they are drawn equally often
EPOCHS = 5
MOST = 3  # kills a trial
SLOWEST = 300  # seconds
WHOLE = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")
SETTINGS = [
    "--model.backbone", "resnet10t", "--model.backbone_options", '{"channels": [8, 8, 16, 16]}',
    "--data.image_size", "32", "--data.batch_size", "8", "--model.deleted_cells", "4",
    "--trainer.accelerator", "cpu", "--trainer.max_epochs", str(EPOCHS),
]  # fmt: skip

# Runs the command in a process where the Nth file that is written is half-written, then killed.
WITHIN = """
import os, sys
from pathlib import Path
left = int(sys.argv.pop(1)); signum = int(sys.argv.pop(1))
replace = Path.replace
def half(self, target):
    global left
    if Path(target).suffix in (".ckpt", ".safetensors"):
        left -= 1
        if left == 0:
            os.truncate(self, self.stat().st_size // 2)
            os.kill(os.getpid(), signum)
    return replace(self, target)
Path.replace = half
from vision_attn.cli import main
sys.exit(main(sys.argv[1:]))
"""


def make_images(root: Path, seed: int) -> None:
    """Two classes of noise, one much rarer than the other."""
    draw = np.random.default_rng(seed)
    for split, share in (("train", 1.0), ("val", 0.5), ("test", 0.5)):
        for channel, (name, count) in enumerate(CLASSES.items()):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(round(count * share)):
                pixels = draw.integers(0, 200, (20, 24, 3)).astype(np.uint8)
                pixels[..., channel] += 30
                Image.fromarray(pixels).save(folder / f"{number:03d}.png")


def fit(run: Path, images: Path, workers: int, before: list[str] | None = None) -> list[str]:
    """The command that begins a run, or goes on with it."""
    words = ["fit", "--run_dir", str(run), "--report", "false", "--overlays", "false"]
    if (run / "checkpoints" / "last.ckpt").exists():
        words += ["--resume"]
    else:
        words += ["--data", str(images), *SETTINGS, "--data.num_workers", str(workers)]
        words += ["--data.memory_limit", "0"] if workers else []
    return [sys.executable, *(before or ["-m", "vision_attn"]), *words]


def quiet(words: list[str]) -> subprocess.Popen[bytes]:
    """Start a command whose words are kept for when it fails."""
    return subprocess.Popen(
        words,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(words: list[str]) -> float:
    """Run a command to its end; returns how long that took."""
    begun = time.monotonic()
    process = quiet(words)
    _, told = process.communicate(timeout=SLOWEST)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}:\n{told.decode()}")
    return time.monotonic() - begun


def kill(run: Path, images: Path, workers: int, draw: random.Random, length: float) -> str:
    """Kill one process at a random moment; returns what was done."""
    signum = draw.choice(SIGNALS)
    if draw.random() < 0.4:
        nth = draw.randint(1, EPOCHS + 2)
        process = quiet(fit(run, images, workers, ["-c", WITHIN, str(nth), str(int(signum))]))
        process.communicate(timeout=SLOWEST)
        return f"{signum.name} while writing file {nth}: {process.returncode}"
    moment = draw.uniform(0.3, 1.0) * length  # before, all is imports
    process = quiet(fit(run, images, workers))
    try:
        process.communicate(timeout=moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signum)
        process.communicate(timeout=SLOWEST)
    return f"{signum.name} after {moment:.1f} s: {process.returncode}"


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two nested results differ, in so much as one bit."""
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f"{where}: other keys"]
        return [d for key in one for d in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list | tuple):
        pairs = enumerate(zip(one, other, strict=True))
        return [d for place, (a, b) in pairs for d in differences(a, b, f"{where}/{place}")]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [where]


def compare(run: Path, peaceful: Path) -> list[str]:
    """What differs between two runs."""
    names = ("model.safetensors", "metrics.json")
    found = [n for n in names if (run / n).read_bytes() != (peaceful / n).read_bytes()]
    one, other = (
        torch.load(place / "checkpoints" / "last.ckpt", weights_only=True)
        for place in (run, peaceful)
    )
    found += differences({k: one[k] for k in WHOLE}, {k: other[k] for k in WHOLE})
    return found + [f"{path} was left" for path in run.rglob(".*.ckpt.*")]


def main() -> int:
    """Kill, go on, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="2: streamed by reader processes")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        images, peaceful = place / "images", place / "peaceful"
        make_images(images, options.seed)
        length = finish(fit(peaceful, images, options.workers))
        print(f"left in peace: {length:.1f} s", flush=True)
        tried = survived = 0
        while tried < options.kills:
            run, wanted = place / f"run{tried}", min(draw.randint(1, MOST), options.kills - tried)
            for _ in range(wanted):
                done = kill(run, images, options.workers, draw, length)
                print(f"  {done}", flush=True)
            finish(fit(run, images, options.workers))
            wrong = compare(run, peaceful)
            print(f"{run.name}: {wanted} kills, {wrong[:4] or 'the same'}", flush=True)
            tried += wanted
            survived += 0 if wrong else wanted
    print(f"kills survived / tried: {survived} / {tried}")
    return int(survived < tried)


if __name__ == "__main__":
    sys.exit(main())
