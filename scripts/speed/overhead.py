"""Lightning's overhead: an epoch of `fit` relative to a bare loop with the same steps.

The bare loop uses the same data loader, augmentation, precision and training scores. The rest of
`fit` is Lightning, its callbacks and its loggers.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from pairs import Timed, ratios
from speed.common import SMALL, draw, spread, table, timed
from speed.ours import Fit, words
from torch import Tensor


def measure(options: argparse.Namespace) -> Iterator[str]:
    """A table of the time of `fit`, relative to the bare loop."""
    yield from table("| at | time of `fit` relative to the bare loop |", rows(options))


def rows(options: argparse.Namespace) -> Iterator[str]:
    """A row for each size."""
    for size in options.sizes:
        batch = options.batch_size or (500 if size == SMALL else 32)
        fit = Fit(draw(Path(tempfile.mkdtemp()), options.images, size), words(size, batch))
        yield f"| {size} px | {spread(ratios(bare(fit), fit, options.pairs), 3)} |"


def bare(fit: Fit) -> Timed:
    """An epoch of the same steps without Lightning."""
    task, data = fit.cli.model, fit.cli.datamodule
    learned = [p for p in task.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-3)
    loader = data.train_dataloader()
    scores = task.metrics_of("train")
    half = str(fit.cli.trainer.precision).startswith("bf16")

    def step(batch: tuple[Tensor, Tensor]) -> int:
        images = data.augment(batch[0].float() / 255)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = task.training_step((images, batch[1]), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return len(images)

    def epoch() -> float:
        task.train()
        scores.reset()
        return timed(loader, step)

    epoch()
    return epoch
