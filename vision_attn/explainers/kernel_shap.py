"""Kernel SHAP: Shapley values of regions, estimated from random coalitions, with Captum."""

from importlib.util import find_spec

import torch
from captum.attr import KernelShap as CaptumKernelShap
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.explainers.base import IMAGES_AT_ONCE, Explainer, mean_color
from vision_attn.explainers.regions import REGIONS, regions
from vision_attn.models.classifier import AttentionClassifier

COALITIONS = 6 * REGIONS**2  # about 300 forward passes per image


class KernelShap(Explainer):
    """Shapley values of 7 x 7 regions: what each region adds to random sets of the others.

    Lundberg & Lee 2017, arXiv 1705.07874: a weighted linear regression on the logits of images
    in which random regions are set to the mean color.
    """

    signed = True

    @torch.no_grad()
    def __call__(self, model: AttentionClassifier, images: Tensor, targets: Tensor) -> Tensor:
        """Heatmaps (B, H, W), constant within each region; the coalitions have a fixed seed.

        Raises:
            UserError: scikit-learn is not installed.
        """
        if find_spec("sklearn") is None:
            raise UserError(
                "kernel_shap needs scikit-learn: pip install 'vision-attn[kernel_shap]'."
            )
        method = CaptumKernelShap(model)
        region_mask = regions(*images.shape[-2:]).to(images.device)
        maps = []
        for image, target in zip(images.split(1), targets, strict=True):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                image_map = method.attribute(
                    image,
                    baselines=mean_color(model, image),
                    target=int(target),
                    feature_mask=region_mask.expand_as(image),
                    n_samples=COALITIONS,
                    perturbations_per_eval=IMAGES_AT_ONCE,
                )
            maps.append(image_map.mean(1))
        return torch.cat(maps)
