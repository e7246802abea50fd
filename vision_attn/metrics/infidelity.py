"""Does the map foretell what a change of the image does to the logit?"""

import torch
from captum.metrics import infidelity
from torch import Tensor

from vision_attn.metrics.base import ExplanationMetric, Trial
from vision_attn.upsampling import upsample

SAMPLES = 20
CELLS = 8  # noise comes in squares, an eighth of the side each


class Infidelity(ExplanationMetric):
    """Infidelity (Yeh et al. 2019, arXiv 1901.09392), by Captum.

    The image is mixed with its mean colour in random squares; the map, as the worth of each
    pixel, should foretell the fall of the logit. Captum scales the map as it fits best, so that
    methods of different scales can be compared. The score is the mean squared error, in squared
    logits. Lower is better.
    """

    higher_is_better = False

    @torch.no_grad()
    def measure(self, trial: Trial, heatmaps: Tensor) -> Tensor:
        """Scores (B,), at least 0."""
        worth = upsample(heatmaps, *trial.images.shape[-2:]).unsqueeze(1)
        plain = trial.model.backbone.mean.to(trial.images.dtype)

        def logits(shares: Tensor, images: Tensor, targets: Tensor) -> Tensor:
            """Logits of images of which each pixel is there in part."""
            mixed = shares * images + (1 - shares) * plain
            return trial.model(mixed).gather(1, targets.unsqueeze(1)).squeeze(1)

        def perturb(shares: Tensor) -> tuple[Tensor, Tensor]:
            coarse = (torch.rand(len(shares), 1, CELLS, CELLS) < 0.2).to(shares)
            gone = nearest(coarse, shares.shape[-2], shares.shape[-1])
            return gone, shares - gone

        everything = torch.ones_like(worth)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            errors = infidelity(
                logits,
                perturb,
                everything,
                worth,
                additional_forward_args=(trial.images, trial.targets),
                n_perturb_samples=SAMPLES,
                max_examples_per_batch=4 * len(worth),
                normalize=True,
            )
        return errors.clamp(min=0)  # Captum's differences of large sums fall a hair below


def nearest(cells: Tensor, height: int, width: int) -> Tensor:
    """Cells (B, 1, h, w) as squares of pixels (B, 1, height, width).

    >>> nearest(torch.tensor([[[[1.0, 0.0]]]]), 1, 4)
    tensor([[[[1., 1., 0., 0.]]]])
    """
    return torch.nn.functional.interpolate(cells, size=(height, width), mode="nearest-exact")
