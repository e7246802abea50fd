"""How well does the hot region cover the object, and nothing else?"""

import torch
from torch import Tensor

from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, masks_of
from vision_attn.metrics.explanation.hot_regions import hot_regions


class MaskIoU(ExplanationMetric):
    """Intersection over union of the hot region and the object's mask.

    Hot is what lies above a threshold between a map's least and largest value. One threshold
    serves all images of the set: the one with the highest mean, found on the very images that
    are scored, as MaxBoxAcc does (Choe et al. 2020, arXiv 2001.07437), so that no kind of map
    suffers from a threshold made for another. A flat map scores 0, an empty mask cannot be scored.

    >>> mask = torch.tensor([[[True, True, False, False]]])
    >>> batch = EvaluationBatch(None, torch.zeros(1, 3, 1, 4), torch.tensor([0]), mask)
    >>> metric = MaskIoU()
    >>> metric.aggregate(metric.score(batch, torch.tensor([[[3.0, 2.0, 1.0, 0.0]]])))
    tensor([1.], dtype=torch.float64)
    >>> metric.aggregate(metric.score(batch, torch.tensor([[[3.0, 0.0, 2.0, 0.0]]])))  # 1 of 2
    tensor([0.5000], dtype=torch.float64)
    """

    needs_masks = True

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Intersections over unions (B, thresholds), between 0 and 1."""
        masks = masks_of(batch, "mask_iou")
        regions = hot_regions(heatmaps, *masks.shape[-2:])
        return torch.stack([overlaps(*pair) for pair in zip(regions, masks, strict=True)])

    def aggregate(self, measured: Tensor) -> Tensor:
        """Scores (N,) at the best threshold."""
        return measured[:, measured.nanmean(0).argmax()]


def overlaps(regions: Tensor, mask: Tensor) -> Tensor:
    """Intersections over unions (T,) of regions (T, H, W) with a mask (H, W); NaN if it's empty."""
    inside = (regions & mask).sum((1, 2)).double()
    either = (regions | mask).sum((1, 2))
    return inside / either if mask.any() else torch.full_like(inside, float("nan"))
