"""Calibrate a trained model: divide its logits by a temperature fitted on held-out images."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from vision_attn.core.terminal import say
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.io.image import to_unit_range
from vision_attn.metrics.temperature_scaling import calibration_error, fit_temperature
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.models.strides import in_eval
from vision_attn.runs.folder import divide_head

ENOUGH = 20
"""Held-out images from which on a temperature is fitted: from fewer it would be a guess."""


@dataclass(frozen=True)
class HeldOut:
    """Logits of images that a model was not trained on.

    Attributes:
        logits: (N, K).
        targets: (N,), class numbers.
        name: which images they are.
    """

    logits: Tensor
    targets: Tensor
    name: str


def validation_logits(
    model: AttentionClassifier,
    data: ImageDataModule,
    forward_context: Callable[[], AbstractContextManager],
) -> HeldOut:
    """The logits of the validation images; of none if there is no such split."""
    logits = [torch.empty(0, data.num_classes)]
    targets = [torch.empty(0, dtype=torch.long)]
    device = next(model.parameters()).device
    with in_eval(model), forward_context():
        for images, labels in data.loader("val", False) if "val" in data.splits else ():
            if len(labels):
                logits.append(model(to_unit_range(images.to(device))).float().cpu())
                targets.append(labels)
    return HeldOut(torch.cat(logits), torch.cat(targets), "validation images")


def calibrate(model: AttentionClassifier, held_out: HeldOut) -> float:
    """Divide the head of a model by a temperature, in place; a line says by which and why.

    The classes of an image exclude each other, so its probabilities are
    a softmax from now on, also of a model that was trained with one sigmoid per class.

    Returns:
        The temperature; 1 if there are too few held-out images to fit one.
    """
    count = len(held_out.targets)
    if count < ENOUGH or not torch.isfinite(held_out.logits).all():
        say(
            f"calibrated  not: {count} {held_out.name} are too few to fit a temperature "
            f"({ENOUGH} are enough)"
        )
        return 1.0
    temperature = fit_temperature(held_out.logits, held_out.targets)
    before = calibration_error(held_out.logits, held_out.targets)
    after = calibration_error(held_out.logits, held_out.targets, temperature)
    divide_head(model, temperature)
    model.activation = "softmax"
    say(
        f"calibrated by temperature {temperature:.3g}, fitted on {count:,} {held_out.name}: "
        f"calibration error {before:.3f} before, {after:.3f} after (--calibrate false)"
    )
    return temperature
