"""Data augmentation, a whole batch at a time, on the device: our own, and torchvision's by name."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample
from torchvision.transforms import v2

from vision_attn.core.errors import UserError, did_you_mean

PHOTOGRAPHS = 0.05, 1.2, 0.2  # shift, zoom and color jitter for images of 64 pixels and more
# With a zoom of 1.6 short trainings from scratch learned less, of surfaces and of flowers
# (RESULTS.md, "Custom images").

BY_IMAGE: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "rand_augment": v2.RandAugment,  # Cubuk et al. 2019 (arXiv 1909.13719)
    "trivial_augment": v2.TrivialAugmentWide,  # Müller & Hutter 2021 (arXiv 2103.10158)
    "random_erasing": v2.RandomErasing,  # Zhong et al. 2017 (arXiv 1708.04896)
}
MIXING: dict[str, Callable[..., v2.Transform]] = {
    "mixup": partial(v2.MixUp, alpha=0.2),  # Zhang et al. 2017 (arXiv 1710.09412), on ImageNet
    "cutmix": partial(v2.CutMix, alpha=1.0),  # Yun et al. 2019 (arXiv 1905.04899)
}


class Augment(nn.Module):
    """Mirrors, enlarges, shifts and lights each image of a batch by its own random amounts.

    One bilinear sampling does the first three; what comes in from outside is the mirrored border.

    Args:
        flip: mirror half of the images left to right.
        shift: move by up to this share of the side, in each direction, in whole pixels.
        zoom: enlarge by a factor between 1 and this.
        color_jitter: multiply brightness, and the distance from the image's mean, by factors that differ
            from 1 by up to this.
    """

    def __init__(self, flip: bool, shift: float, zoom: float, color_jitter: float = 0.0) -> None:
        super().__init__()
        self.flip = flip
        self.shift = shift
        self.zoom = zoom
        self.color_jitter = color_jitter

    def forward(self, images: Tensor) -> Tensor:
        """Changed copies of float images (B, 3, H, W)."""
        batch, device = len(images), images.device
        scale = 1 / torch.empty(batch, device=device).uniform_(1, self.zoom)
        sign = torch.ones(batch, device=device)
        if self.flip:
            sign = torch.randint(0, 2, (batch,), device=device) * 2.0 - 1
        offsets = torch.empty(batch, 2, device=device).uniform_(-self.shift, self.shift)
        sides = torch.tensor(images.shape[:1:-1], device=device)  # (W, H), as grids have it
        # Whole pixels, so that a shift alone copies pixels; an enlarged window may lie anywhere
        # inside the image.
        offsets = 2 * (offsets * sides).round() / sides
        room = (1 - scale).unsqueeze(1)
        offsets = offsets + torch.empty(batch, 2, device=device).uniform_(-1, 1) * room
        theta = torch.zeros(batch, 2, 3, device=device)
        theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * sign, scale, offsets
        grid = affine_grid(theta, list(images.shape), align_corners=False).to(images.dtype)
        moved = grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        return self.adjust_light(moved) if self.color_jitter else moved

    def adjust_light(self, images: Tensor) -> Tensor:
        """The images in other light, within [0, 1]."""
        factors = torch.empty(2, len(images), 1, 1, 1, device=images.device)
        brightness, contrast = factors.uniform_(1 - self.color_jitter, 1 + self.color_jitter)
        mean = images.mean((1, 2, 3), keepdim=True)
        return (brightness * (mean + contrast * (images - mean))).clamp(0, 1)

    def __str__(self) -> str:
        parts = [
            "mirrored" if self.flip else "",
            f"shifted by up to {self.shift:.0%}" if self.shift else "",
            f"enlarged up to {self.zoom:.2g} times" if self.zoom > 1 else "",
            f"in light that varies by {self.color_jitter:.0%}" if self.color_jitter else "",
        ]
        return "training images " + (", ".join(filter(None, parts)) or "as they are")


def default_augmentation(
    image_size: int, flip: bool, shift: float | None, zoom: float | None, color_jitter: float | None
) -> Augment:
    """Augmentation for a size: small images move by pixels, photographs vary in more ways.

    >>> print(default_augmentation(32, flip=True, shift=None, zoom=None, color_jitter=None))
    training images mirrored, shifted by up to 12%
    """
    usual_shift, usual_zoom, usual_jitter = (0.125, 1.0, 0.0) if image_size < 64 else PHOTOGRAPHS
    return Augment(
        flip,
        usual_shift if shift is None else shift,
        usual_zoom if zoom is None else zoom,
        usual_jitter if color_jitter is None else color_jitter,
    )


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
