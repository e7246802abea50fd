"""Backbone: any CNN of timm as a feature extractor, with the normalization of images inside."""

from collections.abc import Callable
from typing import Any

import torch
from timm.models import group_parameters
from torch import Tensor, nn

from vision_attn.core.errors import UserError, first_line
from vision_attn.models.strides import blank, in_eval, remove_first_stride
from vision_attn.models.timm_network import (
    SUGGESTION,
    create_network,
    cut_after_stride,
    is_pointwise,
    remove_unused,
    run_features,
    timm_of,
)


class Backbone(nn.Module):
    """Feature extractor: any CNN of timm, with the normalization of images built in.

    The layers that timm has between features and classifier (a norm, a 1x1 convolution) are kept
    if they are pointwise, that is, act on each place separately. They are removed if they mix
    places (VGG's 7x7 convolution, the attention of CLIP's ResNets) or need timm's pooling.

    Args:
        name: timm's name of the architecture.
        pretrained: False for random initialization, True for timm's pretrained weights (from its
            local cache, an installed weights package or its hub), the name of such a package, or
            the path of a weights file or of a folder saved by timm.
        removed_strides: how many times to halve the first stride that is left, from the stem on.
            Small images need this: a ResNet reduces 32x32 to 1x1. The weights keep their shapes.
        options: further arguments of `timm.create_model`.
        stride: remove the last stages, whose output stride is larger than this; None keeps all.
            The receptive fields are then smaller, even smaller than an object, so that the
            evidence of a place depends on what is at that place.

    Attributes:
        channels: width C of the features.
        strides: output stride of each stage of the whole network.
        earlier_channels: widths of the stages before the last, finest grid first; `grids` can
            return their feature maps, too.
        mean, std: (1, 3, 1, 1), the normalization of images that the weights expect.

    Raises:
        UserError: the architecture or the weights do not exist, or it is not a CNN.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        pretrained: bool | str = False,
        removed_strides: int = 0,
        options: dict[str, Any] | None = None,
        stride: int | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.options = dict(options or {})
        self.stride = stride
        self.removed_strides = 0
        self.net = create_network(name, pretrained, self.options)
        stages = timm_of(self.net).feature_info
        widths = [stage["num_chs"] for stage in stages]
        self.strides = tuple(stage["reduction"] for stage in stages)
        if stride is not None:
            widths = widths[: cut_after_stride(name, self.net, stride) + 1]
        self.earlier_channels = tuple(widths[:-1])
        self.uses_timm_head = True
        self.channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
        self.channels = self.probe_head(widths[-1])
        self.last_grid = nn.Identity()  # the layer that Grad-CAM uses
        for key in ("mean", "std"):
            per_channel = torch.tensor(timm_of(self.net).pretrained_cfg[key])
            self.register_buffer(key, per_channel.view(1, -1, 1, 1))
        for _ in range(removed_strides):
            self.remove_stride()
        # Channels last: convolutions take 0.6 of the time on CPUs, and tensor cores prefer it too.
        for parameter in self.net.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, C, h, w) of images (B, 3, H, W) in [0, 1]."""
        features = timm_of(self.net).forward_features(self.normalize(images))
        return self.last_grid(self.head(features))

    def grids(self, images: Tensor, earlier: int) -> list[Tensor]:
        """Feature maps of the `earlier` stages before the last, finest first, then the features."""
        if earlier == 0:
            return [self(images)]
        last = len(self.earlier_channels)
        features, stages = timm_of(self.net).forward_intermediates(
            self.normalize(images), indices=list(range(last - earlier, last + 1))
        )
        return [*stages[:-1], self.last_grid(self.head(features))]

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize images in [0, 1] by the mean and standard deviation of the weights."""
        images = images.to(self.mean.dtype)  # a half-precision model also accepts float32 images
        return (images - self.mean) / self.std

    def init_from_data(self, sample: Callable[[], Tensor]) -> None:
        """Initialize a network from training images (B, 3, H, W) if it supports that (airbench).

        `sample` is called for such networks only: a sample of large photographs can fill memory.
        """
        if hasattr(self.net, "init_from_data"):
            timm_of(self.net).init_from_data(self.normalize(sample()))

    def frozen_parameters(self, epoch: int) -> list[nn.Parameter]:
        """Parameters that the network does not train in an epoch (airbench); others have none."""
        return (
            timm_of(self.net).frozen_parameters(epoch)
            if hasattr(self.net, "frozen_parameters")
            else []
        )

    def post_step(self) -> None:
        """Call the network's `post_step` after an optimizer step, if it has one (airbench)."""
        if hasattr(self.net, "post_step"):
            timm_of(self.net).post_step()

    def head(self, features: Tensor) -> Tensor:
        """Apply timm's head to its features if the head is pointwise; returns (B, C, h, w)."""
        if self.uses_timm_head:
            features = timm_of(self.net).forward_head(features)
        return features.movedim(-1, 1) if self.channels_last else features

    def probe_head(self, last_width: int) -> int:
        """Check whether timm's head can be kept (is pointwise); returns the width of the features.

        Raises:
            UserError: the network returns no feature grid, or requires a fixed image size.
        """
        net = timm_of(self.net)
        with in_eval(net):
            features, used = run_features(self.name, net)
            if not isinstance(features, Tensor) or features.ndim != 4:
                raise UserError(f"{self.name} returns no feature grid; {SUGGESTION}")
            if self.channels_last:
                width = features.shape[-1]
                self.uses_timm_head = is_pointwise(lambda x: self.head(x.movedim(1, -1)), width)
            else:
                self.uses_timm_head = is_pointwise(self.head, features.shape[1])
            channels = self.head(features).shape[1]
        if channels not in {last_width, net.num_features, getattr(net, "head_hidden_size", None)}:
            raise UserError(f"{self.name} returns no feature grid; {SUGGESTION}")
        if not self.uses_timm_head:
            remove_unused(net, used)
        return channels

    def grid(self, image_size: int) -> tuple[int, int]:
        """Feature grid size (h, w) for square images of the given size.

        Raises:
            UserError: the network cannot process images of that size.
        """
        try:
            with in_eval(self):
                height, width = self(blank(self, image_size)).shape[-2:]
            return height, width
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UserError(
                f"{self.name} cannot process {image_size}x{image_size} images "
                f"({first_line(error)}); choose another --data.image_size or backbone."
            ) from error

    def refine(self, image_size: int, min_grid: int) -> None:
        """Remove strides, starting at the stem, until the feature grid is fine enough.

        Raises:
            UserError: the network has too few strides that can be removed.
        """
        while not self.is_fine_enough(image_size, min_grid):
            self.remove_stride()

    def is_fine_enough(self, image_size: int, min_grid: int) -> bool:
        """Whether the feature grid for that image size has at least `min_grid` places per side."""
        try:
            return min(self.grid(image_size)) >= min_grid
        except UserError:  # some networks fail on a grid of one place
            return False

    def lr_scales(self, first: float) -> dict[Tensor, float]:
        """Layer-wise learning rate decay: a factor per parameter, from `first` at the stem to 1.

        Factors grow geometrically over timm's groups of layers (one per stage if timm defines
        stages). If timm defines no groups or only one, all factors are 1.
        """
        net = timm_of(self.net)
        if not hasattr(net, "group_matcher"):
            return {}
        layers = group_parameters(net, net.group_matcher(coarse=True), reverse=True)
        steps = sorted({layers[name] for name, _ in net.named_parameters() if name in layers})
        last = max(len(steps) - 1, 1)
        return {
            parameter: first ** (1 - steps.index(layers[name]) / last) if len(steps) > 1 else 1.0
            for name, parameter in net.named_parameters()
            if name in layers
        }

    def remove_stride(self) -> None:
        """Halve the stride of the first strided layers, in all parallel branches."""
        if not remove_first_stride(self):
            raise UserError(
                f"{self.name} has no stride left to remove; choose larger images "
                "(--data.image_size) or a smaller --model.min_grid."
            )
        self.removed_strides += 1
