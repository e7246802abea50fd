"""Does a box around what is hot fit the object?"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torchvision.ops import box_iou

from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, masks_of
from vision_attn.metrics.explanation.hot_regions import hot_regions

LEVELS = (0.3, 0.5, 0.7)
TOUCHING = np.zeros((3, 3, 3), bool)  # pixels of one picture, corners too, and not of the next
TOUCHING[1] = True


class BoxIoU(ExplanationMetric):
    """MaxBoxAccV2 (Choe et al. 2020, arXiv 2007.04178): boxes around hot parts hit the object.

    A map is cut off at a threshold; each connected part of what is above it gets a box, and the
    box that fits best counts. It hits if its intersection over union with a box of the object is
    at least .3, .5 or .7; an image's score is the share of these three that it hits. For each,
    one threshold serves all images: the one with most hits, found on the very images that are
    scored. So the mean over images is the paper's figure. The boxes of the object are those
    around the connected parts of its mask: given boxes that overlap count as one. A flat map
    scores 0, an empty mask cannot be scored.

    >>> mask = torch.tensor([[[True, True, True, False, False]]])
    >>> batch = EvaluationBatch(None, torch.zeros(1, 3, 1, 5), torch.tensor([0]), mask)
    >>> metric = BoxIoU()
    >>> metric.aggregate(metric.score(batch, torch.tensor([[[3.0, 2.0, 0.0, 0.0, 3.0]]])))  # 2/3
    tensor([0.6667], dtype=torch.float64)
    """

    needs_masks = True

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """The best intersections over unions (B, thresholds), between 0 and 1."""
        masks = masks_of(batch, "box_iou")
        regions = hot_regions(heatmaps, *masks.shape[-2:])
        return torch.stack([best_fits(*pair) for pair in zip(regions, masks, strict=True)])

    def aggregate(self, measured: Tensor) -> Tensor:
        """Scores (N,): 0, 1/3, 2/3 or 1."""
        known = ~measured.isnan().any(1)
        levels = torch.tensor(LEVELS, dtype=measured.dtype, device=measured.device)
        hits = (measured.unsqueeze(1) >= levels.view(1, -1, 1)).to(measured.dtype)
        best = hits[known].sum(0).argmax(1)  # of each level
        scores = hits.gather(2, best.expand(len(hits), -1).unsqueeze(2)).mean((1, 2))
        return scores.masked_fill(~known, float("nan"))


def best_fits(regions: Tensor, mask: Tensor) -> Tensor:
    """Of each region (T, H, W), its best box's fit (T,) to a mask (H, W); NaN if that is empty."""
    fits = torch.zeros(len(regions), dtype=torch.float64)
    where, boxes = boxes_of_parts(regions.cpu().numpy())
    _, truth = boxes_of_parts(mask.unsqueeze(0).cpu().numpy())
    if not len(truth):
        fits.fill_(float("nan"))
    elif len(boxes):
        fits.scatter_reduce_(0, where, box_iou(boxes, truth).amax(1), "amax")
    return fits.to(regions.device)


def boxes_of_parts(pictures: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Boxes around the connected parts of pictures (T, H, W); pixels connect at corners too.

    Returns:
        Which picture each part is in (parts,), and its left, top, right and bottom edge
        (parts, 4), in pixels from the picture's own edge: the right one is past the last column.

    >>> where, boxes = boxes_of_parts(np.array([[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 0]]]))
    >>> where.tolist(), boxes.tolist()
    ([0, 1], [[0.0, 0.0, 2.0, 2.0], [2.0, 0.0, 3.0, 1.0]])
    """
    labels, parts = ndimage.label(pictures, TOUCHING)
    places = np.nonzero(labels)
    part = labels[places] - 1
    least = np.full((3, parts), np.iinfo(np.int64).max)
    most = np.full((3, parts), -1)
    for axis, place in enumerate(places):
        np.minimum.at(least[axis], part, place)
        np.maximum.at(most[axis], part, place)
    edges = np.stack([least[2], least[1], most[2] + 1, most[1] + 1], axis=1)
    return torch.from_numpy(least[0]), torch.from_numpy(edges).double()
