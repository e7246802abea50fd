"""Growth of time and memory with the number of training images (32 pixels), decoded or mapped.

Each number of images is measured in separate processes: decoded without a cache, decoded into a
cache, and memory-mapped from that cache.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from speed.common import SMALL, draw, peak_memory, table

from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.sources.image_folder import ImageFolder

BATCH = 500


def measure(options: argparse.Namespace) -> Iterator[str]:
    """A table with three rows per number of images."""
    head = "| images | | to read, s | batches of an epoch, s | memory above the start, MiB |"
    yield from table(head, rows(options))


def rows(options: argparse.Namespace) -> Iterator[str]:
    """Three rows per number of images."""
    fork = multiprocessing.get_context("fork")  # so that libraries are imported once
    for count in options.counts:
        folder = draw(Path(tempfile.mkdtemp()), count, SMALL)
        cache = tempfile.mkdtemp()
        for how, cache_folder in (("decoded", None), ("into the cache", cache), ("mapped", cache)):
            with ProcessPoolExecutor(1, mp_context=fork) as process:
                read, batches, memory = process.submit(costs, str(folder), cache_folder).result()
            yield f"| {count:,} | {how} | {read:.2f} | {batches:.2f} | {memory:.0f} |"


def costs(folder: str, cache: str | None) -> tuple[float, float, float]:
    """Seconds to read the images, seconds to iterate over them once, and MiB."""
    torch.set_num_threads(1)  # a forked process has none of its parent's threads
    data = ImageDataModule(ImageFolder(folder), BATCH, SMALL, cache=cache)
    before, started = peak_memory(), time.perf_counter()
    data.store("train")
    read = time.perf_counter() - started
    started = time.perf_counter()
    for images, _ in data.train_dataloader():
        images.float()
    return read, time.perf_counter() - started, peak_memory() - before
