"""Does the map foretell what a change of the image does to the logit?"""

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
SHARE = 0.2  # of the squares are gone
CELLS = 8  # noise comes in squares, an eighth of the side each


class Infidelity(ExplanationMetric):
    """Infidelity (Yeh et al. 2019, arXiv 1901.09392), each map scaled as it fits best.

    Random squares of the image become its mean colour; the map, as the worth of each pixel,
    should foretell the fall of the logit. The score is the mean squared error in squared logits,
    after the best scale at least 0: methods differ in scale, but a map of the wrong sign is
    wrong. (Captum's own normalisation forgives the sign.) Lower is better.
    """

    higher_is_better = False

    @torch.no_grad()
    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Scores (B,), at least 0."""
        worth = upsample(heatmaps, *batch.images.shape[-2:])
        plain = mean_color_baseline(batch)
        whole = logits(batch, batch.images)
        foretold, falls = [], []
        for gone in squares(SAMPLES, batch.images):
            foretold.append((worth * gone.squeeze(1)).sum((1, 2)))
            mixed = torch.where(gone, plain, batch.images)
            falls.append(whole - logits(batch, mixed))
        return least_error(torch.stack(foretold), torch.stack(falls))


def least_error(foretold: Tensor, falls: Tensor) -> Tensor:
    """Mean squared error (B,) of predictions (S, B) after their best scale, at least 0.

    >>> least_error(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [6.0]]))
    tensor([0.])
    >>> least_error(torch.tensor([[1.0], [2.0]]), torch.tensor([[-1.0], [-2.0]]))   # (1 + 4) / 2
    tensor([2.5000])
    """
    scale = (foretold * falls).sum(0) / foretold.square().sum(0).clamp(min=1e-30)
    return (scale.clamp(min=0) * foretold - falls).square().mean(0)


def squares(samples: int, images: Tensor) -> Iterator[Tensor]:
    """Which pixels (B, 1, H, W) are gone, in random squares; the same in every call."""
    generator = torch.Generator().manual_seed(0)
    height, width = images.shape[-2:]
    for _ in range(samples):
        coarse = torch.rand(len(images), 1, CELLS, CELLS, generator=generator) < SHARE
        yield nearest(coarse.float(), height, width).bool().to(images.device)


def nearest(cells: Tensor, height: int, width: int) -> Tensor:
    """Cells (B, 1, h, w) as squares of pixels (B, 1, height, width).

    >>> nearest(torch.tensor([[[[1.0, 0.0]]]]), 1, 4)
    tensor([[[[1., 1., 0., 0.]]]])
    """
    return torch.nn.functional.interpolate(cells, size=(height, width), mode="nearest-exact")
