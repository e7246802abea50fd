"""Time per image of `cifar10_speed`, relative to the speed-record recipe as a bare loop.

The bare loop is scripts/bare_airbench.py: max pooling, batches of 2000, Muon and Nesterov SGD. Both
train on the folder --data, or on random images. The work that the bare loop does once per epoch
(flipping and translating all images) is counted.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import bare_airbench
import torch
from pairs import Timed, ratios
from speed.common import SMALL, draw, spread
from speed.ours import Fit

EPOCHS = 1000  # more than are ever run: the bare loop is a generator of steps


def measure(options: argparse.Namespace) -> Iterator[str]:
    """One line with the ratio of the times per image."""
    images = options.images if not options.data else 50_000
    folder = Path(options.data or draw(Path(tempfile.mkdtemp()), options.images, SMALL))
    fit = Fit(folder, [], "cifar10_speed")
    sets = bare_airbench.read(str(folder))
    batch = min(bare_airbench.BATCH, images)
    found = ratios(bare(sets["train"], batch), fit, options.pairs)
    yield f"an image takes `cifar10_speed` {spread(found, 3)} times as long as the bare loop"


def bare(train: bare_airbench.Set, batch: int) -> Timed:
    """A function that trains one epoch of the bare loop and returns its seconds per image."""
    net = bare_airbench.Net(len(train[1].unique()))
    running = bare_airbench.steps(net, train, EPOCHS, batch)
    steps_per_epoch = len(train[0]) // batch

    def epoch() -> float:
        torch.set_grad_enabled(True)
        started = time.perf_counter()
        for _ in range(steps_per_epoch):
            next(running)
        return (time.perf_counter() - started) / (steps_per_epoch * batch)

    epoch()
    return epoch
