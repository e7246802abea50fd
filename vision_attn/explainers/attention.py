"""Where the model looked: its own attention weights."""

import torch
from torch import Tensor

from vision_attn.explainers.base import Explainer
from vision_attn.models.classifier import AttentionClassifier


class Attention(Explainer):
    """Attention weights, averaged over the heads. The same for every class.

    Each map sums to 1: a value is the share of the context vector that a place supplies. This is
    where the model looked, not what it concluded there (Jain & Wallace 2019, arXiv 1902.10186).
    """

    signed = False
    class_specific = False

    @torch.no_grad()
    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Mean weights (B, h, w)."""
        return model.attend(images).weights.mean(1)

    def expected_sum(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """One for each map."""
        return torch.ones(len(images), device=images.device)
