"""The average of the weights over the last steps, which is what a run then keeps and scores."""

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vision_attn.core.errors import UserError


class EMA(WeightAveraging):
    r"""An exponential moving average of the weights (Tarvainen & Valpola 2017, arXiv 1703.01780).

    After each step, with decay d::

        average <- d * average + (1 - d) * weights

    so that about 1 / (1 - d) steps count. The statistics of batch norm are averaged in the same
    way, without another pass over the images. Validation, its pictures and the best weights are
    the average's; training goes on from the weights themselves, and a checkpoint holds both.

    Lightning's callback does the averaging and the checkpoints. Three things are other here: the
    average is on the training device from the start, the average stays in the task until all
    callbacks have seen the validation's end, and only a training exchanges the two (Lightning
    would also do so when the best weights are validated after it).

    Args:
        decay: d, from 0 (the weights themselves) to below 1.

    Raises:
        UserError: `decay` is out of its range.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"--ema is at least 0 and below 1, not {decay}.")
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def averaged(self) -> nn.Module | None:
        """The task with averaged weights, while it trains; the weights lie in the task then."""
        return None if self._average_model is None else self._average_model.module

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make room for the average, where the weights will be: they are not there yet."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in the place of the weights."""
        if trainer.state.fn == "fit":
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave it there: others look at the model in this hook."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the weights back."""
        if trainer.state.fn == "fit":
            super().on_validation_epoch_end(trainer, pl_module)


def averaged_module(trainer: pl.Trainer, pl_module: pl.LightningModule) -> nn.Module:
    """The task whose weights a run keeps: the average, or the task itself where there is none.

    To be asked when weights and average are in their own places, as they are in `on_validation_end`
    after `EMA` and at the end of training.
    """
    for callback in getattr(trainer, "callbacks", []):
        if isinstance(callback, EMA) and callback.averaged is not None:
            return callback.averaged
    return pl_module
