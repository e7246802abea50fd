"""Feature ablation: the drop of the logit when a region is grayed out, with Captum."""

import torch
from captum.attr import FeatureAblation as CaptumFeatureAblation
from torch import Tensor

from vision_attn.explainers.base import IMAGES_AT_ONCE, Explainer, mean_color
from vision_attn.explainers.regions import regions
from vision_attn.models.classifier import AttentionClassifier


class FeatureAblation(Explainer):
    """Drop of the logit when each of 7 x 7 regions is set to the mean color, one at a time."""

    signed = True

    @torch.no_grad()
    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, H, W), constant within each region."""
        maps = CaptumFeatureAblation(model).attribute(
            images,
            baselines=mean_color(model, images),
            target=targets,
            feature_mask=regions(*images.shape[-2:]).to(images.device),
            perturbations_per_eval=max(IMAGES_AT_ONCE // len(images), 1),
        )
        return maps.mean(1)
