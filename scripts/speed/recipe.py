"""An image in `cifar10_speed` against one in the record's recipe as a bare loop.

The bare loop is scripts/bare_airbench.py: max pooling, batches of 2000, Muon and Nesterov SGD. With
--data both train on that folder, else on drawn images. What each epoch does only once (mirroring
and moving all images of the bare loop) is counted.
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

EPOCHS = 1000  # more than are ever run: the bare loop is asked for one after the other


def measure(options: argparse.Namespace) -> Iterator[str]:
    """One line: times as long, and images a second of both."""
    images = options.images if not options.data else 50_000
    folder = Path(options.data or draw(Path(tempfile.mkdtemp()), options.images, SMALL))
    fit = Fit(folder, [], "cifar10_speed")
    sets = bare_airbench.read(str(folder))
    batch = min(bare_airbench.BATCH, images)
    found = ratios(bare(sets["train"], batch), fit, options.pairs)
    yield f"an image of `cifar10_speed` takes {spread(found, 3)} times one of the bare loop"


def bare(train: bare_airbench.Set, batch: int) -> Timed:
    """Seconds an image of one more epoch of the bare loop."""
    net = bare_airbench.Net(len(train[1].unique()))
    running = bare_airbench.steps(net, train, EPOCHS, batch)
    every = len(train[0]) // batch

    def epoch() -> float:
        torch.set_grad_enabled(True)
        started = time.perf_counter()
        for _ in range(every):
            next(running)
        return (time.perf_counter() - started) / (every * batch)

    epoch()
    return epoch
