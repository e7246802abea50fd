"""Perturbation curves, most relevant pixels first (MoRF), for deletion and insertion."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vision_attn.core.grid import upsample
from vision_attn.metrics.explanation.base import EvaluationBatch, probabilities

STEPS = 28  # as in RISE's benchmark: 224 x 224 pixels in steps of 8 rows


def most_relevant_first(heatmaps: Tensor, height: int, width: int) -> Tensor:
    """Rank the pixels of each map (B, H*W), 0 for the highest value; ties in fixed random order.

    >>> most_relevant_first(torch.tensor([[[1.0, 5.0], [3.0, 2.0]]]), 2, 2)
    tensor([[3, 0, 1, 2]])
    """
    values = upsample(heatmaps, height, width).flatten(1)
    shuffle = torch.randperm(height * width, generator=torch.Generator().manual_seed(0))
    shuffle = shuffle.to(values.device)
    order = shuffle[values[:, shuffle].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1)


def area_under_curve(batch: EvaluationBatch, start: Tensor, end: Tensor, ranks: Tensor) -> Tensor:
    """Compute the area under the probability curve (B,) as pixels of `start` become `end` by rank.

    Trapezoidal rule over equal steps, both ends included (Petsiuk et al. 2018, arXiv 1806.07421).
    """
    curve = torch.stack([probabilities(batch, mixed) for mixed in mixtures(start, end, ranks)])
    return (curve.sum(0) - (curve[0] + curve[-1]) / 2) / (len(curve) - 1)


def mixtures(start: Tensor, end: Tensor, ranks: Tensor) -> Iterator[Tensor]:
    """Generate the images on the way from `start` to `end`, both included."""
    height, width = start.shape[-2:]
    steps = min(STEPS, height * width)
    for step in range(steps + 1):
        changed = (ranks < step * height * width / steps).view(-1, 1, height, width)
        yield torch.where(changed, end, start)
