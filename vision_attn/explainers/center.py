"""A control: heat in the middle. Photographers put objects there."""

import torch
from torch import Tensor

from vision_attn.explainers.base import Explainer
from vision_attn.models.classifier import AttentionClassifier

WIDTH = 0.25  # standard deviation, as a share of a side


class Center(Explainer):
    """A Gaussian in the middle of every image."""

    signed = False
    class_specific = False

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Maps (B, H, W), 1 in the middle."""
        rows, columns = (bell(side) for side in images.shape[-2:])
        return (rows.unsqueeze(1) * columns).to(images.device).expand(len(images), -1, -1)


def bell(side: int) -> Tensor:
    """A Gaussian over a side's pixels.

    >>> bell(2)                            # both pixels are a quarter of the side from the middle
    tensor([0.6065, 0.6065])
    """
    offsets = (torch.arange(side) + 0.5) / side - 0.5
    return torch.exp(-(offsets**2) / (2 * WIDTH**2))
