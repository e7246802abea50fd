"""Every epoch draws its own random numbers: a run that goes on draws what it would have drawn."""

import random

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from vision_attn.data.sampler import seed_of


class SeedEveryEpoch(Callback):
    """Seeds torch, NumPy and Python at the start of each epoch by (seed, epoch, process).

    What was drawn before (validation, pictures, an interruption) then changes nothing after it.
    The seed is what torch was seeded with when this is made.
    """

    def __init__(self) -> None:
        self.seed = torch.initial_seed()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the epoch's random numbers."""
        seed = seed_of(self.seed, trainer.current_epoch, trainer.global_rank)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  (the state that others' code draws from)
        random.seed(seed)
