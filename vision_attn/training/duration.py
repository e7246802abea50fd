"""How long to train: so many epochs as data, model and machine suggest."""

import math

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vision_attn.models.strides import blank, in_eval

IMAGES_SEEN = 300_000  # training length that suits most sets, in images
FEWEST, MOST = 10, 60  # epochs
CPU_RATE = 1.3e11  # floating-point operations a second of one core that multiplies bf16, measured
CPU_WORK = 1e14  # floating-point operations of a training: some 13 minutes of such a core
BACKWARD = 3  # a training step costs this many forward passes (Kaplan et al. 2020, section 2.1)


def auto_epochs(images: int, work_an_image: float, accelerated: bool) -> int:
    """So many epochs that about 300,000 images are seen, between 10 and 60.

    Without a GPU also no more than some 13 minutes of computing take. It is operations that are
    counted, and no clock, so that the same command always trains for the same length.

    Args:
        images: number of training images.
        work_an_image: floating-point operations of a training step, per image.
        accelerated: whether there is a GPU.

    >>> [auto_epochs(images, 3e9, accelerated=True) for images in (50_000, 10_000, 500)]
    [10, 30, 60]
    >>> auto_epochs(1_000, 3e9, accelerated=False)
    34
    """
    seen = IMAGES_SEEN if accelerated else min(IMAGES_SEEN, CPU_WORK / work_an_image)
    return min(max(math.ceil(seen / max(images, 1)), FEWEST), MOST)


def describe_budget(images: int, work_an_image: float, epochs: int) -> str:
    """A line on how much a training of that length computes.

    >>> describe_budget(1_000, 3e9, 34)
    '102e12 floating-point operations: about 13 minutes of one CPU core that multiplies bf16'
    """
    work = images * work_an_image * epochs
    return (
        f"{work / 1e12:.0f}e12 floating-point operations: about {work / CPU_RATE / 60:.0f} minutes "
        "of one CPU core that multiplies bf16"
    )


def auto_patience(epochs: int) -> int:
    """A third of the training: with a falling learning rate most is gained towards the end.

    >>> auto_patience(60), auto_patience(10)
    (20, 10)
    """
    return max(epochs // 3, 10)


def training_work(model: nn.Module, image_size: int) -> float:
    """Floating-point operations of a training step, per image.

    >>> training_work(nn.Conv2d(3, 5, 1, bias=False), 2)  # 3 x (2 x 3 x 5 products and sums) x 2x2
    360.0
    """
    with in_eval(model), FlopCounterMode(display=False) as counter:
        model(blank(model, image_size))
    return float(BACKWARD * counter.get_total_flops())


def is_accelerated(accelerator: str) -> bool:
    """Whether the trainer will find a GPU.

    >>> is_accelerated("cpu")
    False
    """
    return accelerator != "cpu" and torch.accelerator.is_available()
