"""Max-sensitivity: how much the map changes under tiny changes of the image (robustness)."""

import torch
from captum.metrics import sensitivity_max
from torch import Tensor

from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, explainer_of

RADIUS = 0.02  # for pixel values in [0, 1]
SAMPLES = 10


class Sensitivity(ExplanationMetric):
    """Max-sensitivity (Yeh et al. 2019, arXiv 1901.09392), with Captum.

    The largest relative change of the map over ten small random changes of the image, each pixel
    by up to 0.02. Lower is better. A map that never changes scores a perfect 0, so this metric
    must be read together with others.
    """

    higher_is_better = False

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Compute the max-sensitivities (B,), at least 0."""
        explainer = explainer_of(batch, "sensitivity")

        def explain(images: tuple[Tensor, ...], targets: Tensor) -> tuple[Tensor]:
            with torch.enable_grad():
                return (explainer(batch.model, images[0], targets),)

        with torch.random.fork_rng():
            torch.manual_seed(0)
            return sensitivity_max(
                explain,
                batch.images,
                perturb_radius=RADIUS,
                n_perturb_samples=SAMPLES,
                max_examples_per_batch=len(batch.images),
                targets=batch.targets,
            )
