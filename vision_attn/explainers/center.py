"""Center-bias baseline: heat in the middle, where photographers put objects."""

import torch
from torch import Tensor

from vision_attn.explainers.base import Explainer
from vision_attn.models.classifier import AttentionClassifier

SIGMA = 0.25  # standard deviation, as a fraction of the side length


class Center(Explainer):
    """A Gaussian at the center of every image, as a control."""

    signed = False
    class_specific = False

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, H, W), 1 at the center."""
        rows, columns = (gaussian(side) for side in images.shape[-2:])
        return (rows.unsqueeze(1) * columns).to(images.device).expand(len(images), -1, -1)


def gaussian(side: int) -> Tensor:
    """Compute a 1-D Gaussian over the pixels of a side.

    >>> gaussian(2)  # both pixels are a quarter of the side from the center
    tensor([0.6065, 0.6065])
    """
    offsets = (torch.arange(side) + 0.5) / side - 0.5
    return torch.exp(-(offsets**2) / (2 * SIGMA**2))
