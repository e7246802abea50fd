"""Model parameter randomization test: does the map change if the weights are random?"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from vision_attn.core.grid import upsample
from vision_attn.metrics.explanation.base import (
    EvaluationBatch,
    ExplanationMetric,
    explainer_of,
    is_flat,
)
from vision_attn.metrics.explanation.rank_correlation import spearman
from vision_attn.models.classifier import AttentionClassifier

SIDE = 16  # maps are compared at this size, as ranking compares all pairs of pixels


class Randomization(ExplanationMetric):
    """Rank correlation of the map with that of a model with random weights (a sanity check).

    The model parameter randomization test (Adebayo et al. 2018, arXiv 1810.03292) with all layers
    randomized at once: the absolute Spearman correlation. Lower is better; a map that does not
    change shows the image, not the model.
    """

    higher_is_better = False

    def __init__(self) -> None:
        self.cached: tuple[AttentionClassifier, AttentionClassifier] | None = None

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Compute the correlations (B,), between 0 and 1; NaN if one of the maps is constant."""
        explainer = explainer_of(batch, "randomization")
        other = explainer(self.randomized_model(batch.model), batch.images, batch.targets)
        height, width = batch.images.shape[-2:]
        before, after = (
            adaptive_avg_pool2d(upsample(maps, height, width), SIDE).flatten(1)
            for maps in (heatmaps, other)
        )
        flat = is_flat(heatmaps) | is_flat(other)
        return spearman(before, after).abs().masked_fill(flat, float("nan"))

    def randomized_model(self, model: AttentionClassifier) -> AttentionClassifier:
        """Make the model with random weights; cached, and the same in every call."""
        if self.cached is None or self.cached[0] is not model:
            randomized = copy.deepcopy(model)
            with torch.random.fork_rng():
                torch.manual_seed(0)
                randomized.apply(reset_or_shuffle)
            self.cached = (model, randomized.eval())
        return self.cached[1]


@torch.no_grad()
def reset_or_shuffle(module: nn.Module) -> None:
    """Reset a module's own parameters, or shuffle them if it has no reset; skip frozen modules."""
    own = list(module.parameters(recurse=False))
    if any(not parameter.requires_grad for parameter in own):
        return
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    for parameter in own:
        order = torch.randperm(parameter.numel(), device=parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))
