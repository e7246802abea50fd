"""Callback that seeds every epoch, so that a resumed run equals an uninterrupted one."""

import random

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from vision_attn.data.sampler import seed_of


class SeedEveryEpoch(Callback):
    """Seeds torch, NumPy and Python at the start of each epoch with (seed, epoch, process).

    The random numbers of an epoch are then independent of earlier draws (validation, pictures, an
    interruption). The seed is the one of torch when this callback is created.
    """

    def __init__(self) -> None:
        self.seed = torch.initial_seed()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed the random number generators."""
        seed = seed_of(self.seed, trainer.current_epoch, trainer.global_rank)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  (other libraries use this global generator)
        random.seed(seed)
