"""Does the map change when the model knows nothing any more?"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from vision_attn.core.grid import upsample
from vision_attn.metrics.explanation.base import (
    EvaluationBatch,
    ExplanationMetric,
    explain_of,
    is_flat,
)
from vision_attn.metrics.explanation.rank_correlation import spearman
from vision_attn.models.classifier import AttentionClassifier

SIDE = 16  # maps are compared at this size: ranks of all pixels against all would be many


class Randomization(ExplanationMetric):
    """Rank correlation of the map with the one that a randomised model gets.

    The model-parameter randomization test (Adebayo et al. 2018, arXiv 1810.03292) with all layers
    randomised at once: the absolute Spearman correlation. Lower is better; a map that stays what
    it was shows the image, not the model.
    """

    higher_is_better = False

    def __init__(self) -> None:
        self.known: tuple[AttentionClassifier, AttentionClassifier] | None = None

    def score(self, batch: EvaluationBatch, heatmaps: Tensor) -> Tensor:
        """Scores (B,), between 0 and 1; NaN where one of the maps is flat."""
        explain = explain_of(batch, "randomization")
        other = explain(self.randomised(batch.model), batch.images, batch.targets)
        height, width = batch.images.shape[-2:]
        before, after = (
            adaptive_avg_pool2d(upsample(maps, height, width), SIDE).flatten(1)
            for maps in (heatmaps, other)
        )
        flat = is_flat(heatmaps) | is_flat(other)
        return spearman(before, after).abs().masked_fill(flat, float("nan"))

    def randomised(self, model: AttentionClassifier) -> AttentionClassifier:
        """The model with other weights, made once and the same in every call."""
        if self.known is None or self.known[0] is not model:
            fresh = copy.deepcopy(model)
            with torch.random.fork_rng():
                torch.manual_seed(0)
                fresh.apply(start_anew)
            self.known = (model, fresh.eval())
        return self.known[1]


@torch.no_grad()
def start_anew(module: nn.Module) -> None:
    """Reset a module's own parameters, or shuffle those it cannot reset; fixed ones stay."""
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
