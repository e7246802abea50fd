"""Disk-full test: fill the disk at random moments, free space, resume, compare with a normal run.

python scripts/fill_disk.py --trials 20 --seed 0

As root it mounts a small tmpfs; otherwise `--disk DIR` names an empty folder on a small file
system. Each trial trains with a random amount of free space, between none and the size of a run.
Training must end with exit code 2 and a one-line error that names a file, and leave no incomplete
checkpoint, model or score; after space is freed, the resumed run must have the same weights as the
undisturbed run, bit for bit. The same is tested for the files of predict, explain, evaluate, report
and export. Exit code 1 if any trial fails.
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
from kill_fit import SLOWEST, compare, finish, fit, make_images, start
from safetensors.torch import load_file

MIB = 2**20
SIZE = 64  # of the disk, in MiB
OUT = "RESULT"  # replaced by the output path of the command
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
    with tempfile.TemporaryDirectory() as folder:
        size = f"size={SIZE}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "vision-attn", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def fill(disk: Path, free: int) -> Path:
    """Fill a disk except for `free` bytes; return the file that takes the space."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        left = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, max(left.f_bavail * left.f_frsize - free, 1))
    return ballast


def size_of(folder: Path) -> int:
    """Total size in bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(words: list[str], log: Path) -> tuple[int, str]:
    """Run a command; return its exit code and its output."""
    log.write_text("")
    process = start(words, log)
    process.join(SLOWEST)
    return process.exitcode, log.read_text()


def wrong_messages(code: int, output: str, disk: Path) -> list[str]:
    """What is wrong with the error message for a full disk."""
    lines = [line for line in output.splitlines() if line.startswith("vision-attn: ")]
    found = [] if code == 2 else [f"exit code {code}"]
    if len(lines) != 1 or str(disk) not in lines[0] or "was not written" not in lines[0]:
        found.append(f"message {lines or output[-300:]}")
    return found + ["a traceback"] * ("Traceback" in output or "Exception ignored" in output)


def incomplete_files(folder: Path) -> list[str]:
    """Files that are incomplete, and temporary files that were left."""
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
            except Exception as error:  # readers raise errors of many types for damaged files
                found.append(f"{path}: {error}")
    return found


def trial(
    disk: Path, undisturbed: Path, images: Path, free: int, log: Path, logs_alone: bool
) -> tuple[str, list[str]]:
    """Train on a disk that fills up, free space, resume; return the named file and what is wrong.

    With `logs_alone` only the logs are on that disk; otherwise a checkpoint always fails first.
    """
    folder = log.parent / "run" if logs_alone else disk / "run"
    if logs_alone:
        folder.mkdir()
        (disk / "logs").mkdir()
        (folder / "logs").symlink_to(disk / "logs")
    ballast = fill(disk, free)
    code, output = run(fit(folder, images, 0), log)
    file, wrong = "no error", []
    if code:
        wrong = wrong_messages(code, output, folder) + incomplete_files(folder)
        file = named_file(output)
    ballast.unlink()
    if not (folder / "metrics.json").exists() or code:
        finish(fit(folder, images, 0), log)
    wrong += compare(folder, undisturbed)
    shutil.rmtree(folder)
    empty(disk)
    return file, wrong


def empty(disk: Path) -> None:
    """Delete all files of a disk."""
    for left in disk.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def named_file(output: str) -> str:
    """The name of the file in an error message, without its folders."""
    lines = [line for line in output.splitlines() if line.startswith("vision-attn: ")]
    words = lines[0].split() if lines else ["nothing"]
    named = [word for word in words if "/" in word]
    return Path(named[0]).name if named else " ".join(words)


def command_trial(disk: Path, words: list[str], free: int, log: Path) -> tuple[str, list[str]]:
    """Run a command on a disk that fills up, free space, and run it again."""
    ballast = fill(disk, free)
    code, output = run(words, log)
    wrong, file = [], "no error"
    if code:
        wrong, file = (
            wrong_messages(code, output, disk) + incomplete_files(disk),
            named_file(output),
        )
    ballast.unlink()
    if code:
        part = list(disk.glob("*.part"))
        again = [*words, "--resume"] if part else words
        if not part:
            empty(disk)
        code, output = run(again, log)
        wrong += [f"after freeing space: {code}, {output[-300:]}"] if code else []
    empty(disk)
    return file, wrong


def main() -> int:
    """Run all trials and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--log_trials", type=int, default=6, help="trials with only the logs on it")
    parser.add_argument("--verb_trials", type=int, default=3, help="trials per other command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--disk", help="an empty folder on a small file system (a tmpfs)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw, outcomes, bad = random.Random(options.seed), Counter(), 0
    with tempfile.TemporaryDirectory() as name, small_disk(options.disk) as disk:
        root = Path(name)
        images, undisturbed, log = root / "images", root / "undisturbed", root / "log"
        make_images(images, options.seed)
        finish(fit(undisturbed, images, 0), log)
        needed = size_of(undisturbed)
        print(f"undisturbed run: {needed / MIB:.1f} MiB", flush=True)
        for number in range(options.trials + options.log_trials):
            logs_alone = number >= options.trials
            free = draw.randrange(size_of(undisturbed / "logs") if logs_alone else needed)
            file, wrong = trial(disk, undisturbed, images, free, log, logs_alone)
            outcomes[f"fit: {file}"] += 1
            bad += bool(wrong)
            print(f"fit {number}, {free / 1024:.0f} KiB: {file}, {wrong or 'ok'}", flush=True)
        for command, more in COMMANDS.items():
            paths = [str(images / "test")] if command in ("predict", "explain") else []
            words = [command, str(undisturbed), *paths]
            words += [word.replace(OUT, str(disk / "out")) for word in more]
            run(words, log)
            needed = size_of(disk)
            empty(disk)
            for _ in range(options.verb_trials):
                free = draw.randrange(max(needed, 1))
                file, wrong = command_trial(disk, words, free, log)
                outcomes[f"{command}: {file}"] += 1
                bad += bool(wrong)
                print(f"{command}, {free / 1024:.0f} KiB: {file}, {wrong or 'ok'}", flush=True)
    tried = sum(outcomes.values())
    for file, times in sorted(outcomes.items()):
        print(f"{times:4d} {file}")
    print(f"full disks survived / tried: {tried - bad} / {tried}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
