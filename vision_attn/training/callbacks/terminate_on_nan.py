"""Stops a training whose loss is no number any more, before its weights are kept."""

from collections.abc import Mapping
from typing import cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.runs.folder import RunFolder

EVERY = 10  # steps between looks: each look waits for the device


class TerminateOnNaN(Callback):
    """Ends a training at a loss that is NaN or infinite, and says where that was.

    Losses are looked at every few steps and before each validation, and the validation's own after
    it: a checkpoint is only ever written of weights that gave a finite loss.

    Args:
        folder: the run folder, whose last checkpoint is named.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.seen: list[tuple[int, float, Tensor]] = []

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        i: int,
    ) -> None:
        """Note a loss, and look at the last few."""
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.seen.append(
            (trainer.global_step, rate, cast(Mapping[str, Tensor], outputs)["loss"].detach())
        )
        if len(self.seen) >= EVERY or trainer.is_last_batch:
            self.look(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the validation loss: the last step may have spoilt the weights."""
        loss = trainer.callback_metrics.get("val/loss")
        if trainer.state.fn == "fit" and loss is not None and not torch.isfinite(loss):
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            raise self.stopped(trainer, "validation loss", float(loss), trainer.global_step, rate)

    def look(self, trainer: pl.Trainer) -> None:
        """Stop at the first loss of those noted that is no finite number.

        Raises:
            UserError: naming step, epoch, learning rate and what is left.
        """
        seen, self.seen = self.seen, []
        finite = torch.isfinite(torch.stack([loss for _, _, loss in seen])).tolist()
        for (step, rate, loss), fine in zip(seen, finite, strict=True):
            if not fine:
                raise self.stopped(trainer, "loss", float(loss), step, rate)

    def stopped(
        self, trainer: pl.Trainer, what: str, loss: float, step: int, rate: float
    ) -> UserError:
        """What is told."""
        last = self.folder.last
        kept = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was kept"
        return UserError(
            f"the {what} is {loss} at step {step} of epoch {trainer.current_epoch + 1} "
            f"(learning rate {rate:.3g}), so training stopped; {kept}.\n"
            "Begin a new run with a lower --model.optimizer.lr, or with "
            "--trainer.gradient_clip_val 1 or --trainer.precision 32-true."
        )
