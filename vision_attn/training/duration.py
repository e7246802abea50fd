"""Choose the number of epochs automatically, from the data, the model and the machine."""

import math

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vision_attn.models.strides import blank, in_eval

IMAGES_SEEN = 300_000  # images seen over the whole training: a length that suits most data sets
MIN_EPOCHS, MAX_EPOCHS = 10, 60
CPU_FLOPS = 1e14  # budget of a training without a GPU: about 13 minutes of a core with bf16
TUNING_IMAGES = 50_000  # images seen when all layers are tuned after a probe
TUNING_CPU_FLOPS = 2e13  # budget of that without a GPU
TUNING_MIN_EPOCHS, TUNING_MAX_EPOCHS = 2, 10
FORWARD_PASSES_PER_STEP = 3  # cost of a training step (Kaplan et al. 2020, section 2.1)


def auto_epochs(images: int, flops_per_image: float, accelerated: bool) -> int:
    """The number of epochs in which about 300,000 images are seen, between 10 and 60.

    Without a GPU, the training is also limited to about 13 minutes of computing. This counts
    floating-point operations, not time, so that the same command always trains equally long.

    Args:
        images: number of training images.
        flops_per_image: floating-point operations of a training step, per image.
        accelerated: whether there is a GPU.

    >>> [auto_epochs(images, 3e9, accelerated=True) for images in (50_000, 10_000, 500)]
    [10, 30, 60]
    >>> auto_epochs(1_000, 3e9, accelerated=False)
    34
    """
    seen = IMAGES_SEEN if accelerated else min(IMAGES_SEEN, CPU_FLOPS / flops_per_image)
    return min(max(math.ceil(seen / max(images, 1)), MIN_EPOCHS), MAX_EPOCHS)


def auto_tuning_epochs(images: int, flops_per_image: float, accelerated: bool) -> int:
    """The number of epochs in which all layers are tuned after a probe, from 2 to 10.

    >>> [auto_tuning_epochs(images, 4e9, accelerated=True) for images in (50_000, 10_000, 500)]
    [2, 5, 10]
    >>> auto_tuning_epochs(1_000, 4e9, accelerated=False)
    5
    """
    seen = TUNING_IMAGES
    if not accelerated:
        seen = min(seen, int(TUNING_CPU_FLOPS / flops_per_image))
    return min(max(math.ceil(seen / max(images, 1)), TUNING_MIN_EPOCHS), TUNING_MAX_EPOCHS)


def describe_budget(images: int, flops_per_image: float, epochs: int) -> str:
    """A line on the floating-point operations of a training without a GPU.

    >>> describe_budget(1_000, 3e9, 34)
    '102e12 floating-point operations; the estimated time is printed after the first steps'
    """
    flops = images * flops_per_image * epochs
    return (
        f"{flops / 1e12:.0f}e12 floating-point operations; the estimated time is printed after "
        "the first steps"
    )


def auto_patience(epochs: int) -> int:
    """The patience of early stopping: a third of the epochs, but at least 10.

    With a falling learning rate, the model improves most toward the end.

    >>> auto_patience(60), auto_patience(10)
    (20, 10)
    """
    return max(epochs // 3, 10)


def training_flops(model: nn.Module, image_size: int) -> float:
    """Floating-point operations (FLOPs) of a training step, per image.

    >>> training_flops(nn.Conv2d(3, 5, 1, bias=False), 2)  # 3 x (2 x 3 x 5 multiply, add) x 2x2
    360.0
    """
    with in_eval(model), FlopCounterMode(display=False) as counter:
        model(blank(model, image_size))
    return float(FORWARD_PASSES_PER_STEP * counter.get_total_flops())


def is_accelerated(accelerator: str) -> bool:
    """Whether the trainer will find a GPU.

    >>> is_accelerated("cpu")
    False
    """
    return accelerator != "cpu" and torch.accelerator.is_available()
