"""Data augmentation of whole batches on the device: built-in, or torchvision's by name."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample
from torchvision.transforms import v2

from vision_attn.core.errors import UserError, did_you_mean

PHOTO_DEFAULTS = 0.05, 1.2, 0.2  # shift, zoom and color jitter for images of at least 64 pixels
# With a zoom of 1.6, short trainings from scratch learned less, both on photos of industrial
# surfaces and of flowers (RESULTS.md, "Custom images").

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
    """Random flip, zoom, shift and color jitter, drawn independently for each image of a batch.

    The first three are one bilinear resampling; beyond the border the image is reflected.

    Args:
        flip: flip half of the images left to right.
        shift: maximum shift in each direction as a fraction of the side, in whole pixels.
        zoom: enlarge by a random factor from 1 to this.
        color_jitter: multiply brightness, and contrast (the distance from the image's mean), by
            random factors from 1 - this to 1 + this.
    """

    def __init__(self, flip: bool, shift: float, zoom: float, color_jitter: float = 0.0) -> None:
        super().__init__()
        self.flip = flip
        self.shift = shift
        self.zoom = zoom
        self.color_jitter = color_jitter

    def forward(self, images: Tensor) -> Tensor:
        """Augmented copies of float images (B, 3, H, W)."""
        batch, device = len(images), images.device
        scale = 1 / torch.empty(batch, device=device).uniform_(1, self.zoom)
        sign = torch.ones(batch, device=device)
        if self.flip:
            sign = torch.randint(0, 2, (batch,), device=device) * 2.0 - 1
        offsets = torch.empty(batch, 2, device=device).uniform_(-self.shift, self.shift)
        sides = torch.tensor(images.shape[:1:-1], device=device)  # (W, H), the order of affine_grid
        # Whole pixels, so that a shift without zoom copies pixels instead of interpolating them. A
        # zoomed-in window may lie anywhere inside the image.
        offsets = 2 * (offsets * sides).round() / sides
        slack = (1 - scale).unsqueeze(1)
        offsets = offsets + torch.empty(batch, 2, device=device).uniform_(-1, 1) * slack
        theta = torch.zeros(batch, 2, 3, device=device)
        theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * sign, scale, offsets
        grid = affine_grid(theta, list(images.shape), align_corners=False).to(images.dtype)
        moved = grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        return self.jitter_colors(moved) if self.color_jitter else moved

    def jitter_colors(self, images: Tensor) -> Tensor:
        """Random brightness and contrast per image, clipped to [0, 1]."""
        factors = torch.empty(2, len(images), 1, 1, 1, device=images.device)
        brightness, contrast = factors.uniform_(1 - self.color_jitter, 1 + self.color_jitter)
        mean = images.mean((1, 2, 3), keepdim=True)
        return (brightness * (mean + contrast * (images - mean))).clamp(0, 1)

    def __str__(self) -> str:
        parts = [
            "flipped" if self.flip else "",
            f"shifted by up to {self.shift:.0%}" if self.shift else "",
            f"zoomed by up to {self.zoom:.2g}x" if self.zoom > 1 else "",
            f"color jitter up to {self.color_jitter:.0%}" if self.color_jitter else "",
        ]
        return "training images " + (", ".join(filter(None, parts)) or "not augmented")


def default_augmentation(
    image_size: int, flip: bool, shift: float | None, zoom: float | None, color_jitter: float | None
) -> Augment:
    """Default augmentation for an image size: small images are shifted, photos are varied more.

    >>> print(default_augmentation(32, flip=True, shift=None, zoom=None, color_jitter=None))
    training images flipped, shifted by up to 12%
    """
    usual_shift, usual_zoom, usual_jitter = (0.125, 1.0, 0.0) if image_size < 64 else PHOTO_DEFAULTS
    return Augment(
        flip,
        usual_shift if shift is None else shift,
        usual_zoom if zoom is None else zoom,
        usual_jitter if color_jitter is None else color_jitter,
    )


class Augmentations:
    """Named torchvision augmentations: first those per image, then MixUp or CutMix on the batch.

    Args:
        names: any of `rand_augment`, `trivial_augment`, `random_erasing`, `mixup` and `cutmix`,
            separated by commas; an empty string means none. If both mixup and cutmix are given,
            each batch uses one of them, drawn at random.
        num_classes: K.

    Raises:
        UserError: there is no augmentation of that name.

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
                    f"Known augmentations: {', '.join(known)}."
                )
        self.by_image = [BY_IMAGE[name]() for name in self.names if name in BY_IMAGE]
        kinds = [MIXING[name](num_classes=num_classes) for name in self.names if name in MIXING]
        self.mixing = v2.RandomChoice(kinds) if kinds else None

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented float images (B, 3, H, W) and targets: (B,) classes, or (B, K) if mixed."""
        for transform in self.by_image:
            images = torch.stack([transform(image) for image in images])
        return self.mixing(images, targets) if self.mixing else (images, targets)

    def __str__(self) -> str:
        return ", ".join(name.replace("_", " ") for name in self.names)
