"""What a run ran on: versions, command line, git state, hardware and the data's fingerprint."""

import datetime
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from vision_attn.core.version import __version__
from vision_attn.data.split import Split

PACKAGES = ("torch", "torchvision", "lightning", "timm", "captum", "numpy", "pillow", "safetensors")
CONTENTS = 256 * 2**20  # bytes of files, up to which a fingerprint is of what is in them
PATIENCE = 10  # seconds for git


def environment(words: list[str], seed: int | bool, splits: Mapping[str, Split]) -> dict[str, Any]:
    """What is needed to know where and from what a training started.

    Args:
        words: the command line.
        seed: `seed_everything`.
        splits: the images.
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
    """Releases of the packages that results depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # part of an application that was packed into one file
            continue
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the work tree that a folder is in, and whether files differ from it."""
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(folder), *words],
                capture_output=True, text=True, timeout=PATIENCE, check=True,
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):  # no git, or no work tree
        return None
    return {"commit": commit, "changed": bool(changes)}


def hardware() -> dict[str, Any]:
    """Processors and accelerators, and how many threads torch uses."""
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
    """The processor's name, as well as the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def fingerprint(splits: Mapping[str, Split]) -> dict[str, str]:
    """A checksum of all images' splits, classes and, where they are files, names and contents.

    Of large sets the sizes of files stand for their contents.
    """
    sizes = {
        name: Path(name).stat().st_size
        for split in splits.values()
        if split.are_files
        for name in split.names
        if Path(name).is_file()
    }
    read = sum(sizes.values()) <= CONTENTS
    checksum = hashlib.sha256()
    for title, split in sorted(splits.items()):
        for name, label in zip(split.names, split.labels, strict=True):
            line = f"{title}\0{label}\0{name}\0{sizes.get(name, '')}\n"
            checksum.update(os.fsencode(line))  # names of files are bytes, not always UTF-8
            if read and name in sizes:
                checksum.update(hashlib.sha256(Path(name).read_bytes()).digest())
    return {"sha256": checksum.hexdigest(), "of": "contents" if read else "names and sizes"}


def starts(place: Path) -> list[dict[str, Any]]:
    """The starts that a file tells of, oldest first; none where there is no such file."""
    return json.loads(place.read_text(encoding="utf-8"))["starts"] if place.is_file() else []
