"""Pointing game: is the maximum of the map on the object?"""

from torch import Tensor

from vision_attn.core.grid import upsample
from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, masks_of


class PointingGame(ExplanationMetric):
    """Pointing game (Zhang et al. 2016, arXiv 1608.00507), without tolerance around the object.

    Maps are upsampled to the image size first. If several pixels tie for the maximum, the score
    is the fraction of them on the object, the expected score of picking one at random. So a
    constant map scores the object's share of the image area, not 1. An image with an empty mask
    cannot be scored.

    >>> import torch
    >>> mask = torch.tensor([[[True, False], [False, False]]])
    >>> batch = EvaluationBatch(None, torch.zeros(1, 3, 2, 2), torch.tensor([0]), mask)
    >>> PointingGame().score(batch, torch.tensor([[[4.0, 1.0], [0.0, 2.0]]]))
    tensor([1.])
    >>> PointingGame().score(batch, torch.ones(1, 2, 2))
    tensor([0.2500])
    """

    needs_masks = True

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Compute scores (B,), between 0 and 1."""
        masks = masks_of(batch, "the pointing game")
        upsampled = upsample(heatmaps, *masks.shape[-2:])
        tolerance = 1e-6 * upsampled.abs().amax((-2, -1), keepdim=True)
        peaks = (upsampled >= upsampled.amax((-2, -1), keepdim=True) - tolerance).float()
        hits = (peaks * masks).sum((-2, -1)) / peaks.sum((-2, -1))
        return hits.masked_fill(~masks.any((-2, -1)), float("nan"))
