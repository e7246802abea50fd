"""MaxBoxAccV2: IoU of boxes around hot regions with the object's box (localization)."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torchvision.ops import box_iou

from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, masks_of
from vision_attn.metrics.explanation.hot_regions import hot_regions

IOU_LEVELS = (0.3, 0.5, 0.7)
CONNECTIVITY = np.zeros((3, 3, 3), bool)  # 8-connectivity within a mask, none between masks
CONNECTIVITY[1] = True


class BoxIoU(ExplanationMetric):
    """MaxBoxAccV2 (Choe et al. 2020, arXiv 2007.04178): boxes around hot regions hit the object.

    A map is thresholded, each connected component above the threshold gets a box, and the box
    with the highest IoU with a box of the object counts. It is a hit at the levels .3, .5 and .7
    that its IoU reaches; an image's score is the fraction of the three levels that are hit. Each
    level has one threshold for all images: the one with the most hits, chosen on the scored
    images themselves. So the mean over images is the paper's figure. The boxes of the object are
    those around the connected components of its mask: given boxes that overlap count as one. A
    constant map scores 0; an image with an empty mask cannot be scored.

    >>> mask = torch.tensor([[[True, True, True, False, False]]])
    >>> batch = EvaluationBatch(None, torch.zeros(1, 3, 1, 5), torch.tensor([0]), mask)
    >>> metric = BoxIoU()
    >>> metric.aggregate(metric.score(batch, torch.tensor([[[3.0, 2.0, 0.0, 0.0, 3.0]]])))  # 2/3
    tensor([0.6667], dtype=torch.float64)
    """

    needs_masks = True

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Compute the best box IoU per threshold (B, thresholds), between 0 and 1."""
        masks = masks_of(batch, "box_iou")
        regions = hot_regions(heatmaps, *masks.shape[-2:])
        return torch.stack([best_box_ious(*pair) for pair in zip(regions, masks, strict=True)])

    def aggregate(self, measured: Tensor) -> Tensor:
        """Compute scores (N,) at the best threshold per level: 0, 1/3, 2/3 or 1."""
        valid = ~measured.isnan().any(1)
        levels = torch.tensor(IOU_LEVELS, dtype=measured.dtype, device=measured.device)
        hits = (measured.unsqueeze(1) >= levels.view(1, -1, 1)).to(measured.dtype)
        best = hits[valid].sum(0).argmax(1)  # threshold index per level
        scores = hits.gather(2, best.expand(len(hits), -1).unsqueeze(2)).mean((1, 2))
        return scores.masked_fill(~valid, float("nan"))


def best_box_ious(regions: Tensor, mask: Tensor) -> Tensor:
    """Compute the best box IoU (T,) of regions (T, H, W) with a mask (H, W); NaN if it is empty."""
    ious = torch.zeros(len(regions), dtype=torch.float64)
    index, boxes = component_boxes(regions.cpu().numpy())
    _, truth = component_boxes(mask.unsqueeze(0).cpu().numpy())
    if not len(truth):
        ious.fill_(float("nan"))
    elif len(boxes):
        ious.scatter_reduce_(0, index, box_iou(boxes, truth).amax(1), "amax")
    return ious.to(regions.device)


def component_boxes(masks: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Compute boxes around the connected components (8-connectivity) of masks (T, H, W).

    Returns:
        The index of each component's mask (parts,), and its left, top, right and bottom edge
        (parts, 4) in pixels: right and bottom are exclusive, one past the last pixel.

    >>> index, boxes = component_boxes(np.array([[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 0]]]))
    >>> index.tolist(), boxes.tolist()
    ([0, 1], [[0.0, 0.0, 2.0, 2.0], [2.0, 0.0, 3.0, 1.0]])
    """
    labels, parts = ndimage.label(masks, CONNECTIVITY)
    coordinates = np.nonzero(labels)
    part = labels[coordinates] - 1
    least = np.full((3, parts), np.iinfo(np.int64).max)
    most = np.full((3, parts), -1)
    for axis, positions in enumerate(coordinates):
        np.minimum.at(least[axis], part, positions)
        np.maximum.at(most[axis], part, positions)
    edges = np.stack([least[2], least[1], most[2] + 1, most[1] + 1], axis=1)
    return torch.from_numpy(least[0]), torch.from_numpy(edges).double()
