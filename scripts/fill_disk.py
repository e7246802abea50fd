"""Lets a disk fill up at random moments, makes room, goes on, and compares with a run in peace.

python scripts/fill_disk.py --trials 20 --seed 0

As root it mounts a small tmpfs; else `--disk DIR` names an empty folder on a small file system.
Each trial trains where so much room is left, drawn between nothing and what a run takes: the
training must end in one line that names a file, with exit code 2; no half-written checkpoint, model
or score may have been left; with room again it must come to the weights of the run left in peace,
bit for bit. Then the same for what predict, explain, evaluate, report and export write. Exit code 1
if anything is otherwise.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from kill_fit import SLOWEST, begun, compare, finish, fit, make_images
from safetensors.torch import load_file

MIB = 2**20
SIZE = 64  # MiB of the disk
OUT = "RESULT"  # stands for where a verb writes to
COMMANDS = {
    "predict": ["--out", f"{OUT}.csv"],
    "explain": ["--explainers", "evidence,grad_cam", "--out", OUT],
    "evaluate": ["--metrics", "deletion", "--explainers", "evidence", "--out", OUT],
    "report": ["--out", f"{OUT}.html"],
    "export": ["--format", "torch_export", "--out", f"{OUT}.pt2"],
}


@contextlib.contextmanager
def small_disk(named: str | None) -> Iterator[Path]:
    """An empty folder on a small file system."""
    if named:
        yield Path(named)
        return
    with tempfile.TemporaryDirectory() as place:
        size = f"size={SIZE}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "vision-attn", place], check=True)
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", place], check=True)


def fill(disk: Path, free: int) -> Path:
    """Leave so many bytes of a disk; returns the file that takes the rest."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        left = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, max(left.f_bavail * left.f_frsize - free, 1))
    return ballast


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(words: list[str], log: Path) -> tuple[int, str]:
    """Run a command; its exit code and what it said."""
    log.write_text("")
    process = begun(words, log)
    process.join(SLOWEST)
    return process.exitcode, log.read_text()


def wrong_words(code: int, told: str, disk: Path) -> list[str]:
    """What is wrong with how a full disk was told."""
    lines = [line for line in told.splitlines() if line.startswith("vision-attn: ")]
    found = [] if code == 2 else [f"exit code {code}"]
    if len(lines) != 1 or str(disk) not in lines[0] or "was not written" not in lines[0]:
        found.append(f"told {lines or told[-300:]}")
    return found + ["a traceback"] * ("Traceback" in told or "Exception ignored" in told)


def half_files(folder: Path) -> list[str]:
    """Files that pass for whole and are not, and what was left beside them."""
    found = [f"{path} was left" for path in folder.rglob(".*") if path.suffix not in (".lock", "")]
    readers = {
        ".ckpt": lambda path: torch.load(path, weights_only=True),
        ".safetensors": load_file,
        ".json": lambda path: json.loads(path.read_text()),
    }
    for path in folder.rglob("*"):
        if path.suffix in readers and path not in [Path(line.split()[0]) for line in found]:
            try:
                readers[path.suffix](path)
            except Exception as error:  # whatever a damaged file makes its reader say
                found.append(f"{path}: {error}")
    return found


def trial(
    disk: Path, peaceful: Path, images: Path, free: int, log: Path, logs_alone: bool
) -> tuple[str, list[str]]:
    """Train on a disk that fills, make room, go on; what was told, and what went wrong.

    With `logs_alone` only the logs are on that disk: with all on one, a checkpoint meets its end
    first.
    """
    place = log.parent / "run" if logs_alone else disk / "run"
    if logs_alone:
        place.mkdir()
        (disk / "logs").mkdir()
        (place / "logs").symlink_to(disk / "logs")
    ballast = fill(disk, free)
    code, told = run(fit(place, images, 0), log)
    file, wrong = "all of it fitted", []
    if code:
        wrong = wrong_words(code, told, place) + half_files(place)
        file = told_file(told)
    ballast.unlink()
    if not (place / "metrics.json").exists() or code:
        finish(fit(place, images, 0), log)
    wrong += compare(place, peaceful)
    shutil.rmtree(place)
    empty(disk)
    return file, wrong


def empty(disk: Path) -> None:
    """Remove everything from a disk."""
    for left in disk.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def told_file(told: str) -> str:
    """What a line says of which file, without the folders of this trial."""
    lines = [line for line in told.splitlines() if line.startswith("vision-attn: ")]
    words = lines[0].split() if lines else ["nothing"]
    named = [word for word in words if "/" in word]
    return Path(named[0]).name if named else " ".join(words)


def verb_trial(disk: Path, words: list[str], free: int, log: Path) -> tuple[str, list[str]]:
    """Let a verb write to a disk that fills, make room, and let it write again."""
    ballast = fill(disk, free)
    code, told = run(words, log)
    wrong, file = [], "all of it fitted"
    if code:
        wrong, file = wrong_words(code, told, disk) + half_files(disk), told_file(told)
    ballast.unlink()
    if code:
        part = list(disk.glob("*.part"))
        again = [*words, "--resume"] if part else words
        if not part:
            empty(disk)
        code, told = run(again, log)
        wrong += [f"with room again: {code}, {told[-300:]}"] if code else []
    empty(disk)
    return file, wrong


def main() -> int:
    """Fill, make room, go on, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--log_trials", type=int, default=6, help="with the logs alone on it")
    parser.add_argument("--verb_trials", type=int, default=3, help="of each other verb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--disk", help="an empty folder on a small file system; a tmpfs without")
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw, told, bad = random.Random(options.seed), Counter(), 0
    with tempfile.TemporaryDirectory() as name, small_disk(options.disk) as disk:
        place = Path(name)
        images, peaceful, log = place / "images", place / "peaceful", place / "log"
        make_images(images, options.seed)
        finish(fit(peaceful, images, 0), log)
        needed = size_of(peaceful)
        print(f"left in peace: {needed / MIB:.1f} MiB", flush=True)
        for number in range(options.trials + options.log_trials):
            logs_alone = number >= options.trials
            free = draw.randrange(size_of(peaceful / "logs") if logs_alone else needed)
            file, wrong = trial(disk, peaceful, images, free, log, logs_alone)
            told[f"fit: {file}"] += 1
            bad += bool(wrong)
            print(f"fit {number}, {free / 1024:.0f} KiB: {file}, {wrong or 'fine'}", flush=True)
        for command, more in COMMANDS.items():
            paths = [str(images / "test")] if command in ("predict", "explain") else []
            words = [command, str(peaceful), *paths]
            words += [word.replace(OUT, str(disk / "out")) for word in more]
            run(words, log)
            needed = size_of(disk)
            empty(disk)
            for _ in range(options.verb_trials):
                free = draw.randrange(max(needed, 1))
                file, wrong = verb_trial(disk, words, free, log)
                told[f"{command}: {file}"] += 1
                bad += bool(wrong)
                print(f"{command}, {free / 1024:.0f} KiB: {file}, {wrong or 'fine'}", flush=True)
    tried = sum(told.values())
    for file, times in sorted(told.items()):
        print(f"{times:4d} {file}")
    print(f"full disks survived / tried: {tried - bad} / {tried}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
