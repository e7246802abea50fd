"""Crash test: kill training at random moments, resume, and compare with an undisturbed run.

python scripts/kill_fit.py --kills 20 --seed 0

Each trial trains on a few small images in a separate process, which gets SIGKILL, SIGTERM or SIGINT
at a seeded moment: some time after its start, or (`while writing`) when half of a checkpoint or of
the weights is written. It is resumed with `--resume`, or restarted if nothing was saved, and may be
killed again, up to 3 times; then it runs to its end. Its weights, and the weights, optimizer state
and schedule of its last checkpoint, must be equal to those of the undisturbed run, bit for bit.
Exit code 1 if not.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import vision_attn.training.callbacks.best_model
import vision_attn.training.lightning_cli  # noqa: F401  (imported once, before forking)
from vision_attn.cli.main import main as command

SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
CLASSES = {"red": 40, "green": 6}  # so imbalanced that balanced sampling is used
EPOCHS = 5
MOST = 3  # kills per trial
WHILE_WRITING = 0.4  # share of the kills
SLOWEST = 300  # seconds
COMPARED = (
    "state_dict", "current_model_state", "averaging_state",  # the EMA, the weights, the EMA's state
    "optimizer_states", "lr_schedulers", "epoch", "global_step",
)  # fmt: skip
SETTINGS = [
    "--model.backbone", "resnet10t", "--model.backbone_options", '{"channels": [8, 8, 16, 16]}',
    "--data.image_size", "32", "--data.batch_size", "8", "--model.max_deleted_cells", "4",
    "--trainer.accelerator", "cpu", "--trainer.max_epochs", str(EPOCHS), "--ema", "0.9",
    "--data.flip", "alternate",
]  # fmt: skip

FORK = multiprocessing.get_context("fork")  # so that libraries are imported once


def work(words: list[str], log: Path, nth: int, signum: int) -> None:
    """Run the command in this process; kill it while it writes the Nth file, unless N is 0."""
    with log.open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    replace, left = Path.replace, nth

    def replace_or_die(self: Path, target: Path) -> Path:
        """Rename a file; before the Nth one, truncate it to half and kill the process."""
        nonlocal left
        left -= target.suffix in (".ckpt", ".safetensors")
        if left == 0:
            content = self.read_bytes()
            os.truncate(self, len(content) // 2)
            os.kill(os.getpid(), signum)
            self.write_bytes(content)  # SIGTERM only takes effect at the end of a step
        return replace(self, target)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
    if nth:
        Path.replace = replace_or_die  # type: ignore[assignment,method-assign]
    sys.exit(command(words))


def start(words: list[str], log: Path, nth: int = 0, signum: int = 0) -> Any:
    """Start a command in a separate process."""
    process = FORK.Process(target=work, args=(words, log, nth, signum))
    process.start()
    return process


def make_images(root: Path, seed: int) -> None:
    """Write two imbalanced classes of noise images."""
    draw = np.random.default_rng(seed)
    for split, share in (("train", 1.0), ("val", 0.5), ("test", 0.5)):
        for channel, (name, count) in enumerate(CLASSES.items()):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(round(count * share)):
                pixels = draw.integers(0, 200, (20, 24, 3)).astype(np.uint8)
                pixels[..., channel] += 30
                Image.fromarray(pixels).save(folder / f"{number:03d}.png")


def fit(run: Path, images: Path, workers: int) -> list[str]:
    """The arguments that start a run, or resume it."""
    words = ["fit", "--run_dir", str(run), "--report", "false", "--overlays", "false"]
    if (run / "checkpoints" / "last.ckpt").exists():
        return [*words, "--resume"]
    words += ["--data", str(images), *SETTINGS, "--data.num_workers", str(workers)]
    return [*words, "--data.memory_limit", "0"] if workers else words


def finish(words: list[str], log: Path) -> float:
    """Run a command to its end; return its seconds."""
    started = time.monotonic()
    process = start(words, log)
    process.join(SLOWEST)
    if process.exitcode != 0:
        process.kill()
        raise SystemExit(f"{words} ended with {process.exitcode}:\n{log.read_text()[-2000:]}")
    return time.monotonic() - started


def kill(words: list[str], log: Path, draw: random.Random, length: float) -> tuple[int, str]:
    """Kill one process at a random moment; return its exit code and a description."""
    signum = draw.choice(SIGNALS)
    if draw.random() < WHILE_WRITING:
        nth = draw.randint(1, EPOCHS + 2)
        process = start(words, log, nth, signum)
        process.join(SLOWEST)
        return process.exitcode, f"{signum.name} while writing file {nth}"
    moment = draw.uniform(0, 1) * length
    process = start(words, log)
    process.join(moment)
    if process.exitcode is None:
        os.kill(process.pid, signum)
    process.join(SLOWEST)
    return process.exitcode, f"{signum.name} after {moment:.1f} s"


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """The paths at which two nested results are not exactly equal."""
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f"{where}: different keys"]
        return [d for key in one for d in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list | tuple):
        pairs = enumerate(zip(one, other, strict=True))
        return [d for index, (a, b) in pairs for d in differences(a, b, f"{where}/{index}")]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [where]


def compare(run: Path, undisturbed: Path) -> list[str]:
    """The differences between two runs, and temporary files that were left."""
    names = ("model.safetensors", "metrics.json")
    found = [n for n in names if (run / n).read_bytes() != (undisturbed / n).read_bytes()]
    one, other = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (run, undisturbed)
    )
    found += differences({k: one[k] for k in COMPARED}, {k: other[k] for k in COMPARED})
    return found + [f"{path} was left" for path in run.rglob(".*.ckpt.*")]


def main() -> int:
    """Run all trials and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--workers", type=int, default=0, help="2: stream images with worker processes"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        images, undisturbed = root / "images", root / "undisturbed"
        make_images(images, options.seed)
        length = finish(fit(undisturbed, images, options.workers), root / "log")
        print(f"undisturbed run: {length:.1f} s", flush=True)
        tried = survived = 0
        while tried < options.kills:
            run, planned = root / f"run{tried}", min(draw.randint(1, MOST), options.kills - tried)
            hit = 0
            for _ in range(planned):
                words = fit(run, images, options.workers)
                code, done = kill(words, root / "log", draw, length)
                hit += code != 0  # otherwise it finished before the kill, or wrote fewer files
                print(f"  {done}: {code}", flush=True)
            finish(fit(run, images, options.workers), root / "log")
            wrong = compare(run, undisturbed)
            print(f"{run.name}: {hit} kills, {wrong[:4] or 'equal'}", flush=True)
            tried += hit
            survived += 0 if wrong else hit
            shutil.rmtree(run)
    print(f"kills survived / tried: {survived} / {tried}")
    return int(survived < tried)


if __name__ == "__main__":
    sys.exit(main())
