"""A small fast network for images of 32 to 64 pixels, which timm then knows as `airbench`.

From Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv 2404.00498): whitened
2x2 patches, then three groups of two 3x3 convolutions that halve the grid.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

CHANNELS_SEEN = 3
PATCH = 2  # pixels a side of the patches that are whitened
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10's training images


class Whitening(nn.Module):
    """Each 2x2 patch of pixels in coordinates that are uncorrelated and of variance 1.

    The principal directions of the training images' patches, each with both signs (so that an
    activation after it loses nothing), are fixed from the start; only a bias is learned.

    >>> layer = Whitening()
    >>> layer.fit(torch.randn(40, 3, 9, 9) * 7)
    >>> layer(torch.zeros(1, 3, 4, 6)).shape                   # every patch, without padding
    torch.Size([1, 24, 3, 5])
    """

    directions: Tensor

    def __init__(self, eps: float = 5e-4) -> None:
        super().__init__()
        self.eps = eps
        size = CHANNELS_SEEN * PATCH**2
        self.channels = 2 * size
        self.register_buffer("directions", torch.zeros(self.channels, 3, PATCH, PATCH))
        self.bias = nn.Parameter(torch.zeros(self.channels))
        self.set_directions(torch.linalg.qr(torch.randn(size, size))[0])  # until `fit`

    def set_directions(self, rows: Tensor) -> None:
        """Look along these directions (12, 12), and against them."""
        filters = rows.view(-1, CHANNELS_SEEN, PATCH, PATCH)
        self.directions.copy_(torch.cat([filters, -filters]))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Take the directions from normalised images (B, 3, H, W)."""
        patches = images.unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # (B, 3, h, w, 2, 2)
        rows = patches.movedim(1, 3).reshape(-1, CHANNELS_SEEN * PATCH**2).double()
        variances, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
        whitened = directions / (variances + self.eps).sqrt()
        self.set_directions(whitened.T.flip(0).to(self.directions.dtype))  # the largest first

    def forward(self, images: Tensor) -> Tensor:
        """Whitened patches (B, 24, H-1, W-1) of images (B, 3, H, W)."""
        return nn.functional.conv2d(images, self.directions.to(images.dtype), self.bias)


class Group(nn.Sequential):
    """Convolution, pooling, convolution; each is normalised without a learned scale."""

    def __init__(self, before: int, after: int, kernel: int, stride: int) -> None:
        super().__init__(
            convolution(before, after, kernel),
            nn.MaxPool2d(stride) if stride > 1 else nn.Identity(),
            bias_norm(after),
            nn.GELU(),
            convolution(after, after, kernel),
            bias_norm(after),
            nn.GELU(),
        )


def convolution(before: int, after: int, kernel: int) -> nn.Conv2d:
    """A convolution that starts as the identity on as many channels as there are.

    >>> layer = convolution(2, 3, 3)
    >>> image = torch.rand(1, 2, 4, 4)
    >>> torch.equal(layer(image)[:, :2], image)
    True
    """
    layer = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
    nn.init.dirac_(layer.weight.data[: layer.in_channels])
    return layer


def bias_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm whose scale stays 1: what it would learn, the next layer's filters can."""
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


class Airbench(nn.Module):
    """Whitening and groups of convolutions, in the form of a timm model.

    Args:
        widths: channels of each group.
        kernels: pixels a side of each group's filters. Filters of 1 keep a place from seeing
            more of the image than the groups before it.
        strides: how many times each group makes the grid smaller.
        unit_filters: hold the filters of each layer at a mean square length of 1. Batch norm makes
            their length mean nothing but a slower learning, as they grow.
        bias_epochs: first epochs in which the bias of the whitening learns; later its gradient, and
            that of all it is added to, need not be computed. None lets it learn throughout.
        num_classes, global_pool, in_chans: timm hands them to every model. Images have three
            channels here, and pooling and classifier are not this network's.

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
        before = [self.whitening.channels, *widths[:-1]]
        self.groups = nn.ModuleList(
            Group(*sizes) for sizes in zip(before, widths, kernels, strides, strict=True)
        )
        self.unit_filters = unit_filters
        self.bias_epochs = bias_epochs
        self.post_step()
        self.feature_info = [
            {
                "num_chs": width,
                "reduction": math.prod(strides[: number + 1]),
                "module": f"groups.{number}",
            }
            for number, width in enumerate(widths)
        ]

    def init_from_data(self, images: Tensor) -> None:
        """Take what can be had from normalised training images before anything is learned."""
        self.whitening.fit(images)

    def frozen_parameters(self, epoch: int) -> list[nn.Parameter]:
        """Parameters that do not learn in an epoch, counted from 0."""
        over = self.bias_epochs is not None and epoch >= self.bias_epochs
        return [self.whitening.bias] if over else []

    @torch.no_grad()
    def post_step(self) -> None:
        """Bring filters back to their length, as Jordan's Muon for airbench does before a step."""
        for layer in self.groups.modules() if self.unit_filters else ():
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(math.sqrt(layer.out_channels) / layer.weight.norm())

    def forward_features(self, images: Tensor) -> Tensor:
        """Features (B, C, h, w) of normalised images (B, 3, H, W)."""
        grid = nn.functional.gelu(self.whitening(images))
        for group in self.groups:
            grid = group(grid)
        return grid

    def forward_intermediates(
        self, images: Tensor, indices: int | list[int] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The features, and the grids after those groups that `indices` names."""
        wanted, _ = feature_take_indices(len(self.groups), indices)
        grid = nn.functional.gelu(self.whitening(images))
        stages = []
        for number, group in enumerate(self.groups):
            grid = group(grid)
            if number in wanted:
                stages.append(grid)
        return grid, stages

    def prune_intermediate_layers(self, indices: list[int], **kept_by_timm: bool) -> None:
        """Leave off the groups after the last that `indices` names."""
        del self.groups[max(indices) + 1 :]

    def forward_head(self, grid: Tensor) -> Tensor:
        """Nothing lies between features and classifier."""
        return grid

    def forward(self, images: Tensor) -> Tensor:
        """The features: the classifier is this project's."""
        return self.forward_features(images)


default_cfgs = generate_default_cfgs(  # where timm looks for what a model expects
    {"airbench": {"input_size": (3, 32, 32), "mean": MEAN, "std": STD, "classifier": None}}
)


@register_model
def airbench(pretrained: bool = False, **options: Any) -> nn.Module:
    """The network of "94% on CIFAR-10 in 3.29 Seconds on a Single GPU"."""
    net: nn.Module = build_model_with_cfg(Airbench, "airbench", pretrained, **options)
    return net
