"""Further changes to training images, by name, as torchvision makes them."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torchvision.transforms import v2

from vision_attn.errors import UserError, did_you_mean

BY_IMAGE: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "rand_augment": v2.RandAugment,  # Cubuk et al. 2019 (arXiv 1909.13719)
    "trivial_augment": v2.TrivialAugmentWide,  # Müller & Hutter 2021 (arXiv 2103.10158)
    "random_erasing": v2.RandomErasing,  # Zhong et al. 2017 (arXiv 1708.04896)
}
MIXING: dict[str, Callable[..., v2.Transform]] = {
    "mixup": partial(v2.MixUp, alpha=0.2),  # Zhang et al. 2017 (arXiv 1710.09412), on ImageNet
    "cutmix": partial(v2.CutMix, alpha=1.0),  # Yun et al. 2019 (arXiv 1905.04899)
}


class Augmentations:
    """Changes each image by itself, then mixes the images of a batch, and their targets with them.

    Args:
        names: any of `rand_augment`, `trivial_augment`, `random_erasing`, `mixup` and `cutmix`,
            separated by commas; none where empty. Of mixup and cutmix, each batch draws one.
        num_classes: K.

    Raises:
        UserError: there is no such change.

    >>> mixing = Augmentations("mixup", num_classes=3)
    >>> images, targets = mixing(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]))
    >>> targets.shape, bool((targets.sum(1) - 1).abs().max() < 1e-6)
    (torch.Size([4, 3]), True)
    """

    def __init__(self, names: str, num_classes: int) -> None:
        self.names = [name.strip() for name in names.split(",") if name.strip()]
        known = {**BY_IMAGE, **MIXING}
        for name in self.names:
            if name not in known:
                raise UserError(
                    f"--data.augmentations: there is no '{name}'.{did_you_mean(name, known)} "
                    f"Known are: {', '.join(known)}."
                )
        self.by_image = [BY_IMAGE[name]() for name in self.names if name in BY_IMAGE]
        kinds = [MIXING[name](num_classes=num_classes) for name in self.names if name in MIXING]
        self.mixing = v2.RandomChoice(kinds) if kinds else None

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Changed float images (B, 3, H, W), and their targets: classes (B,), or shares (B, K)."""
        for change in self.by_image:
            images = torch.stack([change(image) for image in images])
        return self.mixing(images, targets) if self.mixing else (images, targets)

    def __str__(self) -> str:
        return ", ".join(name.replace("_", " ") for name in self.names)
