"""A control: heat at random. A method that does not beat it says nothing."""

import torch
from torch import Tensor

from vision_attn.explainers.base import Explainer
from vision_attn.model import AttentionClassifier

CELLS = 8  # a side, about as coarse as a feature grid


class Random(Explainer):
    """Uniform noise on 8 x 8 cells, the same in every evaluation."""

    signed = False
    class_specific = False

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Maps (B, 8, 8), between 0 and 1."""
        noise = torch.rand(len(images), CELLS, CELLS, generator=self.generator)
        return noise.to(images.device)
