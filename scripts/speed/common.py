"""What the sections share: images to train on, contenders, and how ratios are told."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from torch import Tensor, nn

from vision_attn.core.registry import available
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Pooling

CLASSES = 10
LARGE = 64  # pixels a side, from which on images are photographs
SMALL = 32  # pixels: the size of the images that airbench is made for


def backbone_for(size: int) -> str:
    """The backbone that both sides of a comparison train."""
    return "airbench" if size < LARGE else "resnet18"


def draw(folder: Path, images: int, size: int) -> Path:
    """A folder train/CLASS/*.jpg of smooth random pictures; photographs are larger than `size`."""
    side = size if size < LARGE else size * 8 // 7  # 256 for 224
    random = np.random.default_rng(0)
    for split, count in (("train", images), ("val", CLASSES)):
        for index in range(count):
            place = folder / split / f"class{index % CLASSES}" / f"{index:06d}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 256, (side // 4, side // 4, 3)).astype(np.uint8)
            Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(place)
    return folder


def network(size: int, pooling: str = "average", classes: int = CLASSES) -> AttentionClassifier:
    """The network of a comparison, its weights laid out as `fit` has them."""
    return AttentionClassifier(Backbone(backbone_for(size)), available(Pooling)[pooling], classes)


class InBf16(nn.Module):
    """A network under autocast, which hands out float32; for trainers that have none on a CPU."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.net(images).float()


class Clock(Callback):
    """Seconds from the start of an epoch to the end of its last step, and images in between.

    What follows (validation, checkpoints) is not counted.
    """

    def __init__(self) -> None:
        self.started = self.ended = 0.0
        self.images = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start."""
        self.started, self.images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        """Count a batch."""
        self.images += len(batch[0])
        self.ended = time.perf_counter()

    def seconds_per_image(self) -> float:
        """What an image took."""
        return (self.ended - self.started) / self.images


def once_more(trainer: pl.Trainer) -> None:
    """Let a trainer that has ended train for one more epoch."""
    trainer.fit_loop.max_epochs = trainer.current_epoch + 1
    trainer.should_stop = False


def timed(batches: Iterable[Any], step: Callable[[Any], int]) -> float:
    """Seconds an image of a loop over batches; a step tells how many images it took."""
    started = time.perf_counter()
    images = sum(step(batch) for batch in batches)
    return (time.perf_counter() - started) / images


def peak_memory() -> float:
    """MiB that this process has held at most, on Linux.

    Not `ru_maxrss`: a new process inherits that of the one that started it.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def spread(numbers: list[float], digits: int = 2) -> str:
    """Median and quartiles.

    >>> spread([1.0, 2.0, 3.0, 4.0, 5.0])
    '3.00 (1.50 to 4.50)'
    """
    if len(numbers) < 2:
        return f"{numbers[0]:.{digits}f}"
    low, middle, high = statistics.quantiles(numbers, n=4)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(head: str, rows: Iterator[str]) -> Iterator[str]:
    """A table, a line as soon as it is known."""
    yield head
    yield "|" + "---|" * (head.count("|") - 1)
    yield from rows
