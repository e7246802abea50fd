"""Random baseline: a method whose scores do not beat it explains nothing."""

import zlib

import torch
from torch import Tensor

from vision_attn.explainers.base import Explainer
from vision_attn.models.classifier import AttentionClassifier

CELLS = 8  # per side, about as coarse as a feature grid


class Random(Explainer):
    """Uniform noise on 8 x 8 cells, seeded with the image's bytes: the same in every call."""

    signed = False
    class_specific = False

    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Random maps (B, 8, 8), between 0 and 1."""
        return torch.stack([noise(image) for image in images]).to(images)


def noise(image: Tensor) -> Tensor:
    """Draw noise (8, 8), seeded with a checksum of the image."""
    seed = zlib.crc32(image.detach().cpu().float().numpy().tobytes())
    return torch.rand(CELLS, CELLS, generator=torch.Generator().manual_seed(seed))
