"""Shared by the sections: random training images, networks, timing, and formatting of ratios."""

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
LARGE = 64  # height and width in pixels from which images are drawn as photographs
SMALL = 32  # height and width in pixels that airbench is made for


def backbone_for(size: int) -> str:
    """The backbone that both sides of a comparison train."""
    return "airbench" if size < LARGE else "resnet18"


def draw(folder: Path, images: int, size: int) -> Path:
    """Write smooth random images to train/CLASS/*.jpg; photographs are larger than `size`."""
    side = size if size < LARGE else size * 8 // 7  # 256 for 224
    random = np.random.default_rng(0)
    for split, count in (("train", images), ("val", CLASSES)):
        for index in range(count):
            path = folder / split / f"class{index % CLASSES}" / f"{index:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 256, (side // 4, side // 4, 3)).astype(np.uint8)
            Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return folder


def network(size: int, pooling: str = "average", classes: int = CLASSES) -> AttentionClassifier:
    """The network of a comparison, with the memory layout that `fit` uses."""
    return AttentionClassifier(Backbone(backbone_for(size)), available(Pooling)[pooling], classes)


class InBf16(nn.Module):
    """A network under bf16 autocast with float32 outputs, for trainers without autocast on CPUs."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.net(images).float()


class Clock(Callback):
    """Measures the seconds per image of an epoch's training steps.

    What follows the last step (validation, checkpoints) is not counted.
    """

    def __init__(self) -> None:
        self.started = self.ended = 0.0
        self.images = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started, self.images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        """Count a batch."""
        self.images += len(batch[0])
        self.ended = time.perf_counter()

    def seconds_per_image(self) -> float:
        """Seconds per image."""
        return (self.ended - self.started) / self.images


def once_more(trainer: pl.Trainer) -> None:
    """Let a finished trainer train for one more epoch."""
    trainer.fit_loop.max_epochs = trainer.current_epoch + 1
    trainer.should_stop = False


def timed(batches: Iterable[Any], step: Callable[[Any], int]) -> float:
    """Seconds per image of a loop over batches; each step returns its number of images."""
    started = time.perf_counter()
    images = sum(step(batch) for batch in batches)
    return (time.perf_counter() - started) / images


def peak_memory() -> float:
    """Peak memory of this process in MiB, on Linux.

    Not `ru_maxrss`, which a new process inherits from its parent.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def spread(numbers: list[float], digits: int = 2) -> str:
    """Median and quartiles as text.

    >>> spread([1.0, 2.0, 3.0, 4.0, 5.0])
    '3.00 (1.50 to 4.50)'
    """
    if len(numbers) < 2:
        return f"{numbers[0]:.{digits}f}"
    low, middle, high = statistics.quantiles(numbers, n=4)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(head: str, rows: Iterator[str]) -> Iterator[str]:
    """The lines of a Markdown table, each as soon as it is measured."""
    yield head
    yield "|" + "---|" * (head.count("|") - 1)
    yield from rows
