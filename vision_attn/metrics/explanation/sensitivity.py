"""How much does the map move when the image hardly does?"""

import torch
from captum.metrics import sensitivity_max
from torch import Tensor

from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, explain_of

RADIUS = 0.02  # in pixels' values, from black 0 to white 1
SAMPLES = 10


class Sensitivity(ExplanationMetric):
    """Max-sensitivity (Yeh et al. 2019, arXiv 1901.09392), by Captum.

    The largest relative change of the map over ten small random changes of the image, each pixel
    by up to 0.02. Lower is better; a map that never changes scores a perfect 0, so this says
    nothing alone.
    """

    higher_is_better = False

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Scores (B,), at least 0."""
        explain = explain_of(batch, "sensitivity")

        def again(images: tuple[Tensor, ...], targets: Tensor) -> tuple[Tensor]:
            with torch.enable_grad():
                return (explain(batch.model, images[0], targets),)

        with torch.random.fork_rng():
            torch.manual_seed(0)
            return sensitivity_max(
                again,
                batch.images,
                perturb_radius=RADIUS,
                n_perturb_samples=SAMPLES,
                max_examples_per_batch=len(batch.images),
                targets=batch.targets,
            )
