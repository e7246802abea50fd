"""Describe the environment of a run: versions, command, git state, hardware, data fingerprint."""

import datetime
import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from vision_attn.core.errors import UserError
from vision_attn.core.json_file import read_json
from vision_attn.core.version import __version__
from vision_attn.data.split import Split

PACKAGES = ("torch", "torchvision", "lightning", "timm", "captum", "numpy", "pillow", "safetensors")
HASHED_BYTES = 256 * 2**20  # larger data sets are fingerprinted by file sizes, not contents
GIT_TIMEOUT = 10  # seconds


def environment(words: list[str], seed: int | bool, splits: Mapping[str, Split]) -> dict[str, Any]:
    """Everything needed to reproduce a training: an entry of `environment.json`.

    Args:
        words: the command line.
        seed: `seed_everything`.
        splits: the images by split.
    """
    return {
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": words,
        "seed": seed,
        "versions": {"vision_attn": __version__, "python": platform.python_version()} | versions(),
        "git": {"code": git_state(Path(__file__).parent), "here": git_state(Path.cwd())},
        "hardware": hardware(),
        "data": fingerprint(splits),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # in an application that is bundled into one file
            continue
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """The git commit of a folder, and whether there are uncommitted changes; None without git.

    The file monitor is off: it would be a program that the folder's own git configuration names.
    """
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *words],
                capture_output=True, text=True, timeout=GIT_TIMEOUT, check=True,
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )  # fmt: skip
    except (
        OSError,
        subprocess.SubprocessError,
    ):  # git is missing, or the folder is not a git work tree
        return None
    return {"commit": commit, "changed": bool(changes)}


def hardware() -> dict[str, Any]:
    """The platform, CPU, GPUs, and the number of threads that torch uses."""
    cuda = torch.cuda.is_available()
    return {
        "platform": platform.platform(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        if cuda
        else [],
        "cuda": torch.version.cuda if cuda else None,
    }


def processor() -> str:
    """The name of the CPU, as reported by the system."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def fingerprint(splits: Mapping[str, Split]) -> dict[str, str]:
    """A SHA-256 checksum of all images: their splits, classes and, for files, names and contents.

    For data sets over 256 MiB, file sizes are used instead of contents.
    """
    sizes = {
        name: Path(name).stat().st_size
        for split in splits.values()
        if split.are_files
        for name in split.names
        if Path(name).is_file()
    }
    read = sum(sizes.values()) <= HASHED_BYTES
    checksum = hashlib.sha256()
    for title, split in sorted(splits.items()):
        for name, label in zip(split.names, split.labels, strict=True):
            line = f"{title}\0{label}\0{name}\0{sizes.get(name, '')}\n"
            checksum.update(os.fsencode(line))  # file names are bytes, not always UTF-8
            if read and name in sizes:
                checksum.update(hashlib.sha256(Path(name).read_bytes()).digest())
    return {"sha256": checksum.hexdigest(), "of": "contents" if read else "names and sizes"}


def read_starts(path: Path) -> list[dict[str, Any]]:
    """Read the starts of a training from `environment.json`, oldest first; [] if it is missing.

    Raises:
        UserError: the file is damaged.
    """
    starts = read_json(path).get("starts") if path.is_file() else []
    if not isinstance(starts, list) or not all(isinstance(start, dict) for start in starts):
        raise UserError(f"{path} is damaged (no list of starts); copy it again.")
    return starts
