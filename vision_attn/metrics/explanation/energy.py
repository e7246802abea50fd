"""Energy-based pointing game: the fraction of positive attribution on the object."""

from torch import Tensor

from vision_attn.core.grid import upsample
from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, masks_of


class Energy(ExplanationMetric):
    """Fraction of a map's positive values inside the mask (Wang et al. 2020, arXiv 1910.01279).

    A map without positive values scores 0; an image with an empty mask cannot be scored.

    >>> import torch
    >>> mask = torch.tensor([[[True, False], [False, False]]])
    >>> batch = EvaluationBatch(None, torch.zeros(1, 3, 2, 2), torch.tensor([0]), mask)
    >>> Energy().score(batch, torch.tensor([[[6.0, 1.0], [-5.0, 1.0]]]))      # 6 of 8
    tensor([0.7500])
    """

    needs_masks = True

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Compute the fractions (B,), between 0 and 1."""
        masks = masks_of(batch, "energy")
        heat = upsample(heatmaps, *masks.shape[-2:]).clamp(min=0)
        inside, total = (heat * masks).sum((-2, -1)), heat.sum((-2, -1))
        fraction = inside / total.clamp(min=1e-30)
        return fraction.masked_fill(~masks.any((-2, -1)), float("nan"))
