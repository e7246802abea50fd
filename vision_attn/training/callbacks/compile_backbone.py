"""Callback that trains with `torch.compile`d backbone code, if compiling works."""

import time
from copy import deepcopy
from typing import cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from vision_attn.core.terminal import say


class CompileBackbone(Callback):
    """Compiles the backbone with `torch.compile` before training starts (`--compile true`).

    torch.compile fuses the operations between convolutions. It needs a C++ compiler and support for
    every operation, which shows only when it is tried. So a copy of the backbone is compiled and
    runs one step first. If that fails, a line says why, and training goes on with the uncompiled
    backbone. Only training is compiled: validation would need a compilation of its own.

    Args:
        image_size: height and width of images in pixels.
        batch_size: images per batch.
    """

    def __init__(self, image_size: int, batch_size: int) -> None:
        self.shape = (batch_size, 3, image_size, image_size)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compile a copy of the backbone; torch caches the code for the backbone itself."""
        self.backbone = cast(nn.Module, cast(nn.Module, pl_module.model).backbone)
        self.compiled = torch.compile(self.backbone.forward)
        images = torch.zeros(self.shape, device=pl_module.device)
        started = time.perf_counter()
        try:
            with trainer.precision_plugin.forward_context():
                trial_step(deepcopy(self.backbone), images)
        except Exception as error:
            self.compiled = self.backbone.forward
            print_line(f"failed, so training is not compiled: {error_summary(error)}")
        else:
            # Input shapes that cannot be compiled later run uncompiled.
            torch._dynamo.config.suppress_errors = True
            print_line(f"done in {time.perf_counter() - started:.0f} s, for training")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Use the compiled forward for training."""
        self.backbone.forward = self.compiled

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Use the eager forward for validation."""
        if trainer.state.fn == "fit":
            self.restore_forward()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Use the compiled forward again, if validation was in the middle of an epoch."""
        if trainer.state.fn == "fit":
            self.backbone.forward = self.compiled

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Use the eager forward after training."""
        self.restore_forward()

    def restore_forward(self) -> None:
        """Restore the eager forward of the backbone."""
        self.backbone.__dict__.pop("forward", None)


def trial_step(network: nn.Module, images: Tensor) -> None:
    """Compile a network and run one forward and backward pass."""
    network.train()
    torch.compile(network.forward)(images).sum().backward()


def error_summary(error: Exception) -> str:
    r"""The type and the first line of an error, or of the compiler error inside it.

    >>> error_summary(ValueError("no compiler\nSet TORCH_LOGS for more"))
    'ValueError: no compiler'
    """
    inner = getattr(error, "inner_exception", error)  # the error of torch.compile's backend
    lines = str(inner).strip().splitlines() or [""]
    return f"{type(inner).__name__}: {lines[0]}"


@rank_zero_only
def print_line(line: str) -> None:
    """Print a line, in the first process only."""
    say(f"compile   {line}")
