"""Occlusion: the drop of the logit when a sliding window is covered, with Captum."""

import torch
from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor

from vision_attn.explainers.base import IMAGES_AT_ONCE, Explainer, mean_color
from vision_attn.models.classifier import AttentionClassifier

WINDOWS = 6  # window size = image size / 6; the stride is half a window


class Occlusion(Explainer):
    """Drop of the logit while a mean-color window slides over the image.

    Zeiler & Fergus 2014, arXiv 1311.2901.
    """

    signed = True

    @torch.no_grad()
    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, H, W): the mean drop of the logit over the windows that cover a pixel."""
        sides = [max(side // WINDOWS, 1) for side in images.shape[-2:]]
        maps = CaptumOcclusion(model).attribute(
            images,
            sliding_window_shapes=(3, *sides),
            strides=(3, *(max(side // 2, 1) for side in sides)),
            baselines=mean_color(model, images),
            target=targets,
            perturbations_per_eval=max(IMAGES_AT_ONCE // len(images), 1),
        )
        return maps.mean(1)
