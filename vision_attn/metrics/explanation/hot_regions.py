"""Threshold heatmaps at 100 levels, for localization metrics (MaxBoxAcc, mask IoU)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vision_attn.core.grid import upsample
from vision_attn.metrics.explanation.base import is_flat

THRESHOLDS = 100  # 0, .01, ..., .99 of the range of a map's values


def hot_regions(heatmaps: Tensor, height: int, width: int) -> Iterator[Tensor]:
    """Compute, for each map, the pixels above each threshold (100, height, width), bool.

    Maps are upsampled to the image size, then min-max scaled to [0, 1] (Choe et al. 2020, arXiv
    2001.07437). A constant map has no hot pixels.

    >>> (regions,) = hot_regions(torch.tensor([[[-2.0, 0.0, 2.0]]]), 1, 3)
    >>> regions.sum(0)         # 0, .5 and 1: above none, above 0 to .49, above all
    tensor([[  0,  50, 100]])
    """
    steps = torch.arange(THRESHOLDS, device=heatmaps.device).view(-1, 1, 1) / THRESHOLDS
    for heat, flat in zip(upsample(heatmaps, height, width), is_flat(heatmaps), strict=True):
        shifted = heat - heat.min()
        yield (shifted / shifted.max().clamp(min=1e-30) > steps) & ~flat
