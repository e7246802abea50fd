"""Taking pixels away or bringing them back, the hottest first: shared by two metrics."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vision_attn.core.grid import upsample
from vision_attn.metrics.explanation.base import EvaluationBatch, probabilities

STEPS = 28  # as in RISE's benchmark: 224 x 224 pixels in steps of 8 rows


def hottest_first(heatmaps: Tensor, height: int, width: int) -> Tensor:
    """Rank of each pixel (B, H*W), 0 for the hottest. Ties are broken by a fixed draw.

    >>> hottest_first(torch.tensor([[[1.0, 5.0], [3.0, 2.0]]]), 2, 2)
    tensor([[3, 0, 1, 2]])
    """
    heat = upsample(heatmaps, height, width).flatten(1)
    draw = torch.randperm(height * width, generator=torch.Generator().manual_seed(0))
    draw = draw.to(heat.device)
    order = draw[heat[:, draw].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1)


def area_under_curve(batch: EvaluationBatch, start: Tensor, end: Tensor, ranks: Tensor) -> Tensor:
    """Mean probability (B,) while pixels of `start` become those of `end`, rank by rank.

    Trapezoids over equal steps, both ends included (Petsiuk et al. 2018, arXiv 1806.07421).
    """
    curve = torch.stack([probabilities(batch, mixed) for mixed in mixtures(start, end, ranks)])
    return (curve.sum(0) - (curve[0] + curve[-1]) / 2) / (len(curve) - 1)


def mixtures(start: Tensor, end: Tensor, ranks: Tensor) -> Iterator[Tensor]:
    """Images on the way from `start` to `end`, both included."""
    height, width = start.shape[-2:]
    steps = min(STEPS, height * width)
    for step in range(steps + 1):
        changed = (ranks < step * height * width / steps).view(-1, 1, height, width)
        yield torch.where(changed, end, start)
