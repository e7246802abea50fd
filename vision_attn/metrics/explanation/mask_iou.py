"""Mask IoU: overlap of the hot region with the object's mask (localization)."""

import torch
from torch import Tensor

from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, masks_of
from vision_attn.metrics.explanation.hot_regions import hot_regions


class MaskIoU(ExplanationMetric):
    """Intersection over union of the hot region and the object's mask.

    The hot region is the pixels above a threshold between a map's smallest and largest value.
    One threshold is used for all images: the one with the highest mean IoU, chosen on the scored
    images themselves as in MaxBoxAcc (Choe et al. 2020, arXiv 2001.07437), so that no kind of map
    is penalized by a threshold that suits another. A constant map scores 0; an image with an
    empty mask cannot be scored.

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
        """Compute the IoU per threshold (B, thresholds), between 0 and 1."""
        masks = masks_of(batch, "mask_iou")
        regions = hot_regions(heatmaps, *masks.shape[-2:])
        return torch.stack([ious(*pair) for pair in zip(regions, masks, strict=True)])

    def aggregate(self, measured: Tensor) -> Tensor:
        """Compute scores (N,) at the threshold with the highest mean IoU."""
        return measured[:, measured.nanmean(0).argmax()]


def ious(regions: Tensor, mask: Tensor) -> Tensor:
    """Compute the IoU (T,) of regions (T, H, W) with a mask (H, W); NaN if the mask is empty."""
    intersection = (regions & mask).sum((1, 2)).double()
    union = (regions | mask).sum((1, 2))
    return intersection / union if mask.any() else torch.full_like(intersection, float("nan"))
