"""Is the hottest pixel on the object?"""

from torch import Tensor

from vision_attn.core.grid import upsample
from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, masks_of


class PointingGame(ExplanationMetric):
    """Whether a map's peak lies on the object (Zhang et al. 2016, arXiv 1608.00507), no tolerance.

    Maps are brought to the image's size first. Where several pixels tie for the peak, the score
    is the share of them on the object: what a fair draw would give, so that a flat map scores
    the object's share of the image, not 1. An empty mask cannot be scored.

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
        """Scores (B,), between 0 and 1."""
        masks = masks_of(batch, "the pointing game")
        grown = upsample(heatmaps, *masks.shape[-2:])
        rounding = 1e-6 * grown.abs().amax((-2, -1), keepdim=True)
        peaks = (grown >= grown.amax((-2, -1), keepdim=True) - rounding).float()
        hits = (peaks * masks).sum((-2, -1)) / peaks.sum((-2, -1))
        return hits.masked_fill(~masks.any((-2, -1)), float("nan"))
