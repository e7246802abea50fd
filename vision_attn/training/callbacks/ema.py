"""Exponential moving average (EMA) of the weights, which is validated and saved."""

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vision_attn.core.errors import UserError


class EMA(WeightAveraging):
    r"""Exponential moving average of the weights (Tarvainen & Valpola 2017, arXiv 1703.01780).

    After each step, with decay d::

        average <- d * average + (1 - d) * weights

    which averages about the last 1 / (1 - d) steps. Batch norm statistics are averaged in the same
    way, without another pass over the images. Validation, its pictures and the saved best weights
    use the average; training continues with the weights themselves, and a checkpoint contains both.

    Lightning's callback does the averaging and the checkpoints. Three things differ here: the
    average is on the training device from the start; it stays in the task until all callbacks have
    run `on_validation_epoch_end`; and weights and average are swapped only during training
    (Lightning would also swap them when the best weights are validated afterward).

    Args:
        decay: d, from 0 (the weights themselves) to below 1.

    Raises:
        UserError: `decay` is out of range.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"--ema must be at least 0 and below 1, not {decay}.")
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def averaged(self) -> nn.Module | None:
        """A copy of the task with the averaged weights; None before training."""
        return None if self._average_model is None else self._average_model.module

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Create the average on the training device; the weights are not moved there yet."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Swap the average into the task for validation."""
        if trainer.state.fn == "fit":
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the average until `on_validation_end`, so other callbacks see it in this hook."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Swap the weights back into the task."""
        if trainer.state.fn == "fit":
            super().on_validation_epoch_end(trainer, pl_module)


def averaged_module(trainer: pl.Trainer, pl_module: pl.LightningModule) -> nn.Module:
    """The task with the weights to save: the EMA, or the task itself without one.

    Call it only while average and weights are not swapped: in `on_validation_end` after the
    callback `EMA`, or at the end of training.
    """
    for callback in getattr(trainer, "callbacks", []):
        if isinstance(callback, EMA) and callback.averaged is not None:
            return callback.averaged
    return pl_module
