"""Airbench, a small fast CNN for images of 32 to 64 pixels, registered with timm as `airbench`.

From Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv 2404.00498): whitened
2x2 patches, then three groups of two 3x3 convolutions; each group halves the grid.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

IN_CHANNELS = 3
PATCH_SIZE = 2  # side of the whitened patches, in pixels
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10's training images


class Whitening(nn.Module):
    """PCA whitening of 2x2 patches: outputs are uncorrelated with variance 1.

    The filters are the principal directions of the training images' patches, each with both signs
    (so that the activation after this layer loses no information). They are fixed before training;
    only a bias is learned.

    >>> layer = Whitening()
    >>> layer.fit(torch.randn(40, 3, 9, 9) * 7)
    >>> layer(torch.zeros(1, 3, 4, 6)).shape                   # all patches, without padding
    torch.Size([1, 24, 3, 5])
    """

    directions: Tensor

    def __init__(self, eps: float = 5e-4) -> None:
        super().__init__()
        self.eps = eps
        size = IN_CHANNELS * PATCH_SIZE**2
        self.channels = 2 * size
        self.register_buffer("directions", torch.zeros(self.channels, 3, PATCH_SIZE, PATCH_SIZE))
        self.bias = nn.Parameter(torch.zeros(self.channels))
        self.set_directions(torch.linalg.qr(torch.randn(size, size))[0])  # random until `fit`

    def set_directions(self, rows: Tensor) -> None:
        """Set the filters to the rows of a matrix (12, 12), each with both signs."""
        filters = rows.view(-1, IN_CHANNELS, PATCH_SIZE, PATCH_SIZE)
        self.directions.copy_(torch.cat([filters, -filters]))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Compute the whitening filters from normalized images (B, 3, H, W)."""
        patches = images.unfold(2, PATCH_SIZE, 1).unfold(3, PATCH_SIZE, 1)  # (B, 3, h, w, 2, 2)
        rows = patches.movedim(1, 3).reshape(-1, IN_CHANNELS * PATCH_SIZE**2).double()
        variances, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
        whitened = directions / (variances + self.eps).sqrt()
        self.set_directions(whitened.T.flip(0).to(self.directions.dtype))  # largest variance first

    def forward(self, images: Tensor) -> Tensor:
        """Whitened patches (B, 24, H-1, W-1) of images (B, 3, H, W)."""
        return nn.functional.conv2d(images, self.directions.to(images.dtype), self.bias)


class Group(nn.Sequential):
    """Conv, max pool, batch norm, GELU, conv, batch norm, GELU; the norms have no learned scale."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__(
            convolution(in_channels, out_channels, kernel),
            nn.MaxPool2d(stride) if stride > 1 else nn.Identity(),
            bias_norm(out_channels),
            nn.GELU(),
            convolution(out_channels, out_channels, kernel),
            bias_norm(out_channels),
            nn.GELU(),
        )


def convolution(in_channels: int, out_channels: int, kernel: int) -> nn.Conv2d:
    """A convolution whose first output channels are initialized as the identity (Dirac).

    >>> layer = convolution(2, 3, 3)
    >>> image = torch.rand(1, 2, 4, 4)
    >>> torch.equal(layer(image)[:, :2], image)
    True
    """
    layer = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    nn.init.dirac_(layer.weight.data[: layer.in_channels])
    return layer


def bias_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with a bias only; its scale stays 1, as the next layer's filters can learn it."""
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


class Airbench(nn.Module):
    """The airbench CNN (whitening, then groups of convolutions) with the interface of timm models.

    Args:
        widths: number of channels of each group.
        kernels: kernel size of each group's convolutions. A kernel size of 1 leaves the receptive
            field as it is after the group before.
        strides: factor by which each group reduces the grid.
        unit_filters: keep the filters of each layer at a mean square norm of 1. With batch norm,
            their norm has no effect except that learning slows down as it grows.
        bias_epochs: number of epochs in which the bias of the whitening is trained. Afterward its
            gradient, and that of the whitened patches, need not be computed. None trains it in
            all epochs.
        num_classes, global_pool, in_chans: arguments that timm passes to every model. Images
            always have three channels here; pooling and classifier are not part of this network.

    >>> net = Airbench(widths=(8, 16, 32))
    >>> net.forward_features(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 32, 3, 3])
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 256, 256),
        kernels: Sequence[int] = (3, 3, 3),
        strides: Sequence[int] = (2, 2, 2),
        unit_filters: bool = False,
        bias_epochs: int | None = None,
        num_classes: int = 10,
        global_pool: str = "max",
        in_chans: int = 3,
    ) -> None:
        super().__init__()
        self.num_features = self.head_hidden_size = widths[-1]
        self.num_classes = num_classes
        self.whitening = Whitening()
        in_widths = [self.whitening.channels, *widths[:-1]]
        self.groups = nn.ModuleList(
            Group(*sizes) for sizes in zip(in_widths, widths, kernels, strides, strict=True)
        )
        self.unit_filters = unit_filters
        self.bias_epochs = bias_epochs
        self.post_step()
        self.feature_info = [
            {
                "num_chs": width,
                "reduction": math.prod(strides[: index + 1]),
                "module": f"groups.{index}",
            }
            for index, width in enumerate(widths)
        ]

    def init_from_data(self, images: Tensor) -> None:
        """Initialize the whitening from normalized training images (B, 3, H, W)."""
        self.whitening.fit(images)

    def frozen_parameters(self, epoch: int) -> list[nn.Parameter]:
        """Parameters that are not trained in an epoch, counted from 0."""
        bias_frozen = self.bias_epochs is not None and epoch >= self.bias_epochs
        return [self.whitening.bias] if bias_frozen else []

    @torch.no_grad()
    def post_step(self) -> None:
        """Normalize filters (`unit_filters`), as Jordan's Muon for airbench does before a step."""
        for layer in self.groups.modules() if self.unit_filters else ():
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(math.sqrt(layer.out_channels) / layer.weight.norm())

    def forward_features(self, images: Tensor) -> Tensor:
        """Features (B, C, h, w) of normalized images (B, 3, H, W)."""
        grid = nn.functional.gelu(self.whitening(images))
        for group in self.groups:
            grid = group(grid)
        return grid

    def forward_intermediates(
        self, images: Tensor, indices: int | list[int] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The features, and the feature maps of the groups with the given indices."""
        wanted, _ = feature_take_indices(len(self.groups), indices)
        grid = nn.functional.gelu(self.whitening(images))
        stages = []
        for index, group in enumerate(self.groups):
            grid = group(grid)
            if index in wanted:
                stages.append(grid)
        return grid, stages

    def prune_intermediate_layers(self, indices: list[int], **kept_by_timm: bool) -> None:
        """Remove the groups after the largest of `indices`."""
        del self.groups[max(indices) + 1 :]

    def forward_head(self, grid: Tensor) -> Tensor:
        """Return the features: timm's head is empty in this network."""
        return grid

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, C, h, w), the same as `forward_features`: there is no classifier."""
        return self.forward_features(images)


default_cfgs = generate_default_cfgs(  # timm reads a model's input size, mean and std here
    {"airbench": {"input_size": (3, 32, 32), "mean": MEAN, "std": STD, "classifier": None}}
)


@register_model
def airbench(pretrained: bool = False, **options: Any) -> nn.Module:
    """Create the CNN of "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" for timm."""
    net: nn.Module = build_model_with_cfg(Airbench, "airbench", pretrained, **options)
    return net
