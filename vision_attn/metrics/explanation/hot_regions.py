"""Where a map is hot: shared by metrics that cut it off at every height."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vision_attn.core.grid import upsample
from vision_attn.metrics.explanation.base import is_flat

THRESHOLDS = 100  # 0, .01, ..., .99 between a map's least and largest value


def hot_regions(heatmaps: Tensor, height: int, width: int) -> Iterator[Tensor]:
    """Of each map, the pixels above every threshold (100, height, width), bool.

    Maps are brought to the image's size, then between 0 and 1 (Choe et al. 2020, arXiv
    2001.07437). A flat map is hot nowhere.

    >>> (regions,) = hot_regions(torch.tensor([[[-2.0, 0.0, 2.0]]]), 1, 3)
    >>> regions.sum(0)         # 0, .5 and 1: above none, above 0 to .49, above all
    tensor([[  0,  50, 100]])
    """
    steps = torch.arange(THRESHOLDS, device=heatmaps.device).view(-1, 1, 1) / THRESHOLDS
    for heat, flat in zip(upsample(heatmaps, height, width), is_flat(heatmaps), strict=True):
        raised = heat - heat.min()
        yield (raised / raised.max().clamp(min=1e-30) > steps) & ~flat
