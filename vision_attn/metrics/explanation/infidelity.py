"""Infidelity: does the map predict how the logit changes when the image is perturbed?"""

from collections.abc import Iterator

import torch
from torch import Tensor

from vision_attn.core.grid import upsample
from vision_attn.metrics.explanation.base import (
    EvaluationBatch,
    ExplanationMetric,
    logits,
    mean_color_baseline,
)

SAMPLES = 20
SHARE = 0.2  # fraction of the squares that is removed
CELLS = 8  # squares per side


class Infidelity(ExplanationMetric):
    """Infidelity (Yeh et al. 2019, arXiv 1901.09392), with the best scale for each map.

    Random squares of the image are set to the mean color. The sum of the map over the removed
    pixels should predict the drop of the logit. The score is the mean squared error, in squared
    logits, after each map is multiplied by its best factor >= 0: methods differ in scale, but a
    map with the wrong sign is wrong. (Captum's own normalization also accepts the wrong sign.)
    Lower is better.
    """

    higher_is_better = False

    @torch.no_grad()
    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Compute the infidelities (B,), at least 0."""
        values = upsample(heatmaps, *batch.images.shape[-2:])
        baseline = mean_color_baseline(batch)
        original = logits(batch, batch.images)
        predicted, drops = [], []
        for removed in random_squares(SAMPLES, batch.images):
            predicted.append((values * removed.squeeze(1)).sum((1, 2)))
            perturbed = torch.where(removed, baseline, batch.images)
            drops.append(original - logits(batch, perturbed))
        return least_error(torch.stack(predicted), torch.stack(drops))


def least_error(predicted: Tensor, drops: Tensor) -> Tensor:
    """Compute the mean squared error (B,) of predictions (S, B) times their best scale >= 0.

    >>> least_error(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [6.0]]))
    tensor([0.])
    >>> least_error(torch.tensor([[1.0], [2.0]]), torch.tensor([[-1.0], [-2.0]]))   # (1 + 4) / 2
    tensor([2.5000])
    """
    scale = (predicted * drops).sum(0) / predicted.square().sum(0).clamp(min=1e-30)
    return (scale.clamp(min=0) * predicted - drops).square().mean(0)


def random_squares(samples: int, images: Tensor) -> Iterator[Tensor]:
    """Draw masks (B, 1, H, W) of random squares to remove; the same in every call."""
    generator = torch.Generator().manual_seed(0)
    height, width = images.shape[-2:]
    for _ in range(samples):
        coarse = torch.rand(len(images), 1, CELLS, CELLS, generator=generator) < SHARE
        yield upsample_nearest(coarse.float(), height, width).bool().to(images.device)


def upsample_nearest(cells: Tensor, height: int, width: int) -> Tensor:
    """Upsample cells (B, 1, h, w) to pixels (B, 1, height, width), nearest neighbor.

    >>> upsample_nearest(torch.tensor([[[[1.0, 0.0]]]]), 1, 4)
    tensor([[[[1., 1., 0., 0.]]]])
    """
    return torch.nn.functional.interpolate(cells, size=(height, width), mode="nearest-exact")
