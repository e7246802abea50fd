"""Callback that stops a training when the loss is NaN or infinite, before weights are saved."""

from collections.abc import Mapping
from typing import cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.runs.folder import RunFolder
from vision_attn.training.optimizers import base_lr

CHECK_EVERY = 10  # steps: each check waits for the device


class TerminateOnNaN(Callback):
    """Stops a training when a loss is NaN or infinite; the error names step and epoch.

    Training losses are checked every few steps and before each validation, the validation loss
    after each validation. So a checkpoint is written only of weights with a finite loss.

    Args:
        folder: the run folder; the error names its last checkpoint.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.unchecked: list[tuple[int, float, Tensor]] = []

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        i: int,
    ) -> None:
        """Collect the loss, and check the collected losses every few steps."""
        rate = base_lr(trainer.optimizers[0])
        self.unchecked.append(
            (trainer.global_step, rate, cast(Mapping[str, Tensor], outputs)["loss"].detach())
        )
        if len(self.unchecked) >= CHECK_EVERY or trainer.is_last_batch:
            self.check(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the validation loss: the last step may have made the weights infinite."""
        loss = trainer.callback_metrics.get("val/loss")
        if trainer.state.fn == "fit" and loss is not None and not torch.isfinite(loss):
            rate = base_lr(trainer.optimizers[0])
            raise self.error(trainer, "validation loss", float(loss), trainer.global_step, rate)

    def check(self, trainer: pl.Trainer) -> None:
        """Stop at the first of the collected losses that is NaN or infinite.

        Raises:
            UserError: naming step, epoch, learning rate and the last good checkpoint.
        """
        losses, self.unchecked = self.unchecked, []
        finite = torch.isfinite(torch.stack([loss for _, _, loss in losses])).tolist()
        for (step, rate, loss), is_finite in zip(losses, finite, strict=True):
            if not is_finite:
                raise self.error(trainer, "loss", float(loss), step, rate)

    def error(
        self, trainer: pl.Trainer, what: str, loss: float, step: int, rate: float
    ) -> UserError:
        """The error on a loss that is NaN or infinite, with advice."""
        last = self.folder.last
        kept = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was saved"
        return UserError(
            f"the {what} is {loss} at step {step} of epoch {trainer.current_epoch + 1} "
            f"(learning rate {rate:.3g}), so training stopped; {kept}.\n"
            "Start a new run with a lower --model.optimizer.lr, or with "
            "--trainer.gradient_clip_val 1 or --trainer.precision 32-true."
        )
