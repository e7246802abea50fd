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
import vision_attn.training.lightning_cli  # noqa: F401  (what every process would import)
from vision_attn.cli.main import main as command

SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
CLASSES = {"red": 40, "green": 6}  # so unequal that they are drawn equally often
EPOCHS = 5
MOST = 3  # kills a trial
WHILE_WRITING = 0.4  # share of the kills
SLOWEST = 300  # seconds
WHOLE = (
    "state_dict", "current_model_state", "averaging_state",  # the average, the weights, its age
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
    """What a process of its own does: the command, killed within the Nth file if there is one."""
    with log.open("a") as told:
        os.dup2(told.fileno(), 1)
        os.dup2(told.fileno(), 2)
    replace, left = Path.replace, nth

    def half(self: Path, target: Path) -> Path:
        """Move a file to its place, unless it is the one whose writer dies."""
        nonlocal left
        left -= target.suffix in (".ckpt", ".safetensors")
        if left == 0:
            whole = self.read_bytes()
            os.truncate(self, len(whole) // 2)
            os.kill(os.getpid(), signum)
            self.write_bytes(whole)  # SIGTERM waits for the end of a step: the writer goes on
        return replace(self, target)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    if nth:
        Path.replace = half  # type: ignore[assignment,method-assign]
    sys.exit(command(words))


def begun(words: list[str], log: Path, nth: int = 0, signum: int = 0) -> Any:
    """Start a command in a process of its own."""
    process = FORK.Process(target=work, args=(words, log, nth, signum))
    process.start()
    return process


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


def fit(run: Path, images: Path, workers: int) -> list[str]:
    """The words that begin a run, or go on with it."""
    words = ["fit", "--run_dir", str(run), "--report", "false", "--overlays", "false"]
    if (run / "checkpoints" / "last.ckpt").exists():
        return [*words, "--resume"]
    words += ["--data", str(images), *SETTINGS, "--data.num_workers", str(workers)]
    return [*words, "--data.memory_limit", "0"] if workers else words


def finish(words: list[str], log: Path) -> float:
    """Run a command to its end; returns how long that took."""
    start = time.monotonic()
    process = begun(words, log)
    process.join(SLOWEST)
    if process.exitcode != 0:
        process.kill()
        raise SystemExit(f"{words} ended with {process.exitcode}:\n{log.read_text()[-2000:]}")
    return time.monotonic() - start


def kill(words: list[str], log: Path, draw: random.Random, length: float) -> tuple[int, str]:
    """Kill one process at a random moment; returns its exit code and what was done."""
    signum = draw.choice(SIGNALS)
    if draw.random() < WHILE_WRITING:
        nth = draw.randint(1, EPOCHS + 2)
        process = begun(words, log, nth, signum)
        process.join(SLOWEST)
        return process.exitcode, f"{signum.name} while writing file {nth}"
    moment = draw.uniform(0, 1) * length
    process = begun(words, log)
    process.join(moment)
    if process.exitcode is None:
        os.kill(process.pid, signum)
    process.join(SLOWEST)
    return process.exitcode, f"{signum.name} after {moment:.1f} s"


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
    torch.set_num_threads(1)
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        images, peaceful = place / "images", place / "peaceful"
        make_images(images, options.seed)
        length = finish(fit(peaceful, images, options.workers), place / "log")
        print(f"left in peace: {length:.1f} s", flush=True)
        tried = survived = 0
        while tried < options.kills:
            run, wanted = place / f"run{tried}", min(draw.randint(1, MOST), options.kills - tried)
            hit = 0
            for _ in range(wanted):
                words = fit(run, images, options.workers)
                code, done = kill(words, place / "log", draw, length)
                hit += code != 0  # else it had ended, or wrote fewer files
                print(f"  {done}: {code}", flush=True)
            finish(fit(run, images, options.workers), place / "log")
            wrong = compare(run, peaceful)
            print(f"{run.name}: {hit} kills, {wrong[:4] or 'the same'}", flush=True)
            tried += hit
            survived += 0 if wrong else hit
            shutil.rmtree(run)
    print(f"kills survived / tried: {survived} / {tried}")
    return int(survived < tried)


if __name__ == "__main__":
    sys.exit(main())
