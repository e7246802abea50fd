"""Training with a backbone that torch has compiled, where torch can."""

import time
from copy import deepcopy
from typing import cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn


class CompileBackbone(Callback):
    """Has torch compile the backbone before the training starts (`--compile true`).

    torch.compile fuses what lies between convolutions. Whether it can (it needs a C++ compiler, and
    has to know every operation) shows only when it is tried. So a copy of the backbone takes a step
    first, and if that fails, a line says why and the training goes on as if nothing had been
    asked for. Only training is compiled: validation would have to be compiled for itself.

    Args:
        image_size: pixels a side.
        batch_size: images of a step.
    """

    def __init__(self, image_size: int, batch_size: int) -> None:
        self.shape = (batch_size, 3, image_size, image_size)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Try with a copy, whose code is found again."""
        self.backbone = cast(nn.Module, cast(nn.Module, pl_module.model).backbone)
        self.compiled = torch.compile(self.backbone.forward)
        images = torch.zeros(self.shape, device=pl_module.device)
        started = time.perf_counter()
        try:
            with trainer.precision_plugin.forward_context():
                rehearse(deepcopy(self.backbone), images)
        except Exception as error:
            self.compiled = self.backbone.forward
            tell(f"failed, so nothing is compiled: {reason(error)}")
        else:
            # Another shape that cannot be compiled after all runs as it is.
            torch._dynamo.config.suppress_errors = True
            tell(f"done in {time.perf_counter() - started:.0f} s, for training")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compiled code from here."""
        self.backbone.forward = self.compiled

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Python from here."""
        if trainer.state.fn == "fit":
            self.release()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compiled code again, should the epoch go on."""
        if trainer.state.fn == "fit":
            self.backbone.forward = self.compiled

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Python in what follows."""
        self.release()

    def release(self) -> None:
        """Give the backbone its own code again."""
        self.backbone.__dict__.pop("forward", None)


def rehearse(network: nn.Module, images: Tensor) -> None:
    """One step of a network that will not be used."""
    network.train()
    torch.compile(network.forward)(images).sum().backward()


def reason(error: Exception) -> str:
    r"""What went wrong, in a line.

    >>> reason(ValueError("no compiler\nSet TORCH_LOGS for more"))
    'ValueError: no compiler'
    """
    inner = getattr(error, "inner_exception", error)  # the backend's own
    lines = str(inner).strip().splitlines() or [""]
    return f"{type(inner).__name__}: {lines[0]}"


@rank_zero_only
def tell(line: str) -> None:
    """A line, of one process."""
    print(f"compile   {line}", flush=True)
