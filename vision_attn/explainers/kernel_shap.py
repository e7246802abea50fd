"""Shapley values of regions, estimated from random coalitions, by Captum."""

from importlib.util import find_spec

import torch
from captum.attr import KernelShap as CaptumKernelShap
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.explainers.base import IMAGES_AT_ONCE, Explainer, mean_color
from vision_attn.explainers.regions import REGIONS, regions
from vision_attn.models.classifier import AttentionClassifier

COALITIONS = 6 * REGIONS**2  # about 300 images for one


class KernelShap(Explainer):
    """What each of 7 x 7 regions adds to random sets of others.

    Lundberg & Lee 2017, arXiv 1705.07874: a weighted linear fit to the logits of images of which
    random regions are plain.
    """

    signed = True

    @torch.no_grad()
    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Maps (B, H, W), the same over a region. Coalitions are the same in every call."""
        if find_spec("sklearn") is None:
            raise UserError(
                "kernel_shap needs scikit-learn: pip install 'vision-attn[kernel_shap]'."
            )
        method = CaptumKernelShap(model)
        areas = regions(*images.shape[-2:]).to(images.device)
        maps = []
        for image, target in zip(images.split(1), targets, strict=True):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                found = method.attribute(
                    image,
                    baselines=mean_color(model, image),
                    target=int(target),
                    feature_mask=areas.expand_as(image),
                    n_samples=COALITIONS,
                    perturbations_per_eval=IMAGES_AT_ONCE,
                )
            maps.append(found.mean(1))
        return torch.cat(maps)
