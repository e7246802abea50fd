"""Attention maps: the model's own attention weights."""

import torch
from torch import Tensor

from vision_attn.explainers.base import Explainer
from vision_attn.models.classifier import AttentionClassifier


class Attention(Explainer):
    """Attention weights averaged over the heads; the same map for every class.

    Each map sums to 1: a value is the share of the context vector that comes from a grid cell.
    It shows where the model looked, not what it concluded there (Jain & Wallace 2019, arXiv
    1902.10186).
    """

    signed = False
    class_specific = False

    @torch.no_grad()
    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Attention weights (B, h, w), averaged over the heads."""
        return model.attend(images).weights.mean(1)

    def expected_sum(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Ones (B,): attention weights sum to 1."""
        return torch.ones(len(images), device=images.device)
