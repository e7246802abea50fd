"""Training throughput of `fit`, plain Lightning, timm's loader and fastai, with the same network.

Batch sizes are the same too. Each is measured with its defaults and with its best settings: bf16,
channels_last, and as many worker processes as cores. Compared is the time of the steps of an epoch,
from the second epoch on, in pairs: `fit`, and the other right after or before it.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import lightning.pytorch as pl
import torch
from pairs import Timed, ratios
from speed.common import (
    SMALL,
    Clock,
    InBf16,
    draw,
    network,
    once_more,
    spread,
    table,
    timed,
)
from speed.ours import Fit, words
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from vision_attn.models.airbench import MEAN, STD

CORES = len(os.sched_getaffinity(0))


def measure(options: argparse.Namespace) -> Iterator[str]:
    """A table of the times of the others, relative to `fit`."""
    yield from table(
        "| at | against | settings | time relative to `fit` | images/s of `fit` |", rows(options)
    )


def rows(options: argparse.Namespace) -> Iterator[str]:
    """A row for each size, contender and settings."""
    for size in options.sizes:
        batch = options.batch_size or (500 if size == SMALL else 32)
        folder = draw(Path(tempfile.mkdtemp()), options.images, size)
        fit = Fit(folder, words(size, batch))
        for name, contender in CONTENDERS.items():
            for best in (False, True):
                settings = "its best" if best else "its defaults"
                start = f"| {size} px | {name} | {settings} |"
                if name == "fastai" and find_spec("fastai") is None:
                    yield f"{start} not installed here | |"
                    continue
                own: list[float] = []
                found = ratios(
                    recorded(fit, own), contender(folder, size, batch, best), options.pairs
                )
                yield f"{start} {spread(found)} | {spread([1 / t for t in own], 0)} |"


def recorded(one: Timed, times: list[float]) -> Timed:
    """The same function, which also appends its times to a list."""

    def record() -> float:
        times.append(one())
        return times[-1]

    return record


def net_for(size: int, best: bool) -> nn.Module:
    """The network of the other trainers, in the default memory layout or in the best one."""
    layout = torch.channels_last if best else torch.contiguous_format
    return network(size).to(memory_format=layout)


class Plain(pl.LightningModule):
    """A minimal LightningModule."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        return cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The same optimizer as in `fit`."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def plain_lightning(folder: Path, size: int, batch: int, best: bool) -> Timed:
    """Lightning with torchvision's transforms and ImageFolder, and torch's DataLoader."""
    small = [transforms.RandomCrop(size, padding=4)]
    crop = small if size == SMALL else [transforms.RandomResizedCrop(size)]
    transform = transforms.Compose(
        [*crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(),
         transforms.Normalize(MEAN, STD)]
    )  # fmt: skip
    loader = DataLoader(
        ImageFolder(str(folder / "train"), transform),
        batch, shuffle=True, drop_last=True,
        num_workers=CORES if best else 0, persistent_workers=best,
    )  # fmt: skip
    clock, task = Clock(), Plain(net_for(size, best))
    trainer = pl.Trainer(
        max_epochs=1, precision="bf16-mixed" if best else "32-true", callbacks=[clock],
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip

    def epoch() -> float:
        trainer.fit(task, loader)
        once_more(trainer)
        return clock.seconds_per_image()

    epoch()
    return epoch


def timm_loader(folder: Path, size: int, batch: int, best: bool) -> Timed:
    """The dataset and loader of timm, called as in its train.py, with a bare loop."""
    from timm.data import ImageDataset, create_loader

    loader = create_loader(
        ImageDataset(str(folder / "train")), size, batch, is_training=True,
        num_workers=CORES if best else 4,  # 4 is train.py's default
        color_jitter=0 if best else 0.4, device=torch.device("cpu"), persistent_workers=True,
    )  # fmt: skip
    return bare_loop(loader, net_for(size, best), best)


def bare_loop(loader: Any, net: nn.Module, best: bool) -> Timed:
    """One epoch over a loader in a bare training loop."""
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    forward = InBf16(net) if best else net

    def step(pair: tuple[Tensor, Tensor]) -> int:
        images, targets = pair
        loss = cross_entropy(forward(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return len(targets)

    def epoch() -> float:
        return timed(loader, step)

    epoch()
    return epoch


def fastai(folder: Path, size: int, batch: int, best: bool) -> Timed:
    """The loaders of fastai with its default augmentation, and its Learner."""
    from fastai.vision.all import Callback, ImageDataLoaders, Learner, Resize, aug_transforms

    class Stopwatch(Callback):  # type: ignore[misc]
        """Measures the training part of an epoch."""

        def before_train(self) -> None:
            self.watched = perf_counter()

        def after_train(self) -> None:
            self.seconds = perf_counter() - self.watched

    loaders = ImageDataLoaders.from_folder(
        folder, train="train", valid="val", item_tfms=Resize(size), bs=batch,
        batch_tfms=aug_transforms(), device=torch.device("cpu"),
        **({"num_workers": CORES} if best else {}),
    )  # fmt: skip
    net = net_for(size, best)
    watch = Stopwatch()
    learner = Learner(
        loaders, InBf16(net) if best else net, loss_func=nn.CrossEntropyLoss(), cbs=[watch]
    )

    def epoch() -> float:
        with learner.no_bar(), learner.no_logging():
            learner.fit(1)
        return watch.seconds / (len(loaders.train) * batch)

    epoch()
    return epoch


CONTENDERS: dict[str, Callable[[Path, int, int, bool], Timed]] = {
    "plain Lightning": plain_lightning,
    "timm's loader": timm_loader,
    "fastai": fastai,
}
