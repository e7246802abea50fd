"""Feature extractor (backbone) from timm; no other file creates timm's models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from vision_attn.core.errors import UserError, did_you_mean, first_line
from vision_attn.models import airbench  # noqa: F401  (registers itself with timm)
from vision_attn.models.strides import blank, in_eval, remove_first_stride

PROBE_SIZE = 64  # side of the probe image in pixels: enough for most CNNs, and fast
RESERVED_OPTIONS = {
    "cache_dir",
    "checkpoint_path",  # timm would read it; an untrusted model.json must not open any file
    "features_only",
    "global_pool",
    "num_classes",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
}
SUGGESTION = "choose a CNN such as resnet18, convnext_tiny or efficientnet_b0."


class Backbone(nn.Module):
    """Feature extractor: any CNN of timm, with the normalization of images built in.

    The layers that timm has between features and classifier (a norm, a 1x1 convolution) are kept
    if they are pointwise, that is, act on each place separately. They are removed if they mix
    places (VGG's 7x7 convolution, the attention of CLIP's ResNets) or need timm's pooling.

    Args:
        name: timm's name of the architecture.
        pretrained: False for random initialization, True for timm's pretrained weights from its
            hub, or the path of a weights file or of a folder saved by timm.
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


def timm_of(net: nn.Module) -> Any:
    """The same network, untyped: no type describes the attributes that timm adds to a module."""
    return net


def create_network(name: str, pretrained: bool | str, options: dict[str, Any]) -> nn.Module:
    """Create a timm model without its classifier and, where possible, without its pooling.

    Raises:
        UserError: timm has no such model, cannot build it, or cannot load the weights.
    """
    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models())
        raise UserError(
            f"timm has no backbone '{name}'.{hint} List them in Python: timm.list_models()."
        )
    if reserved := sorted(RESERVED_OPTIONS & set(options)):
        raise UserError(
            f"backbone_options: {reserved[0]} cannot be set there; choose weights with "
            "--model.pretrained or --init_from."
        )
    overlay = local_weights(pretrained) if isinstance(pretrained, str) else None
    arguments: dict[str, Any] = {
        "pretrained": bool(pretrained),
        "pretrained_cfg_overlay": overlay,
        "num_classes": 0,
    }
    try:
        try:
            return timm.create_model(name, **arguments, global_pool="", **options)
        except AssertionError:  # its head needs a pooling
            return timm.create_model(name, **arguments, **options)
    except Exception as error:  # timm, its hub client and torch raise many kinds of errors here
        reason = first_line(error)
        if not pretrained:
            raise UserError(f"timm cannot build {name} with {options}: {reason}") from error
        raise UserError(
            f"cannot load pretrained weights for {name}: {reason}\n"
            "Offline, give a weights file or a folder saved by timm: --model.pretrained PATH."
        ) from error


def local_weights(path: str) -> dict[str, Any]:
    """The `pretrained_cfg_overlay` with which timm loads weights from a local file or folder."""
    source = Path(path).expanduser()
    if source.is_file():
        return {"file": str(source)}
    if not source.is_dir():
        raise UserError(f"--model.pretrained: there is no file or folder {source}.")
    config_file = source / "config.json"
    config = json.loads(config_file.read_text()) if config_file.is_file() else {}
    return {**config.get("pretrained_cfg", {}), "source": "local-dir", "file": str(source)}


def cut_after_stride(name: str, net: nn.Module, stride: int) -> int:
    """Remove the stages whose output stride is larger than `stride`; returns the last one's index.

    Raises:
        UserError: all stages have a larger stride, or timm cannot cut this network.
    """
    reductions = [stage["reduction"] for stage in timm_of(net).feature_info]
    kept = [index for index, reduction in enumerate(reductions) if reduction <= stride]
    if not kept or not hasattr(net, "prune_intermediate_layers"):
        raise UserError(
            f"--model.stride: {name} cannot be cut at stride {stride} "
            f"(its stages: {', '.join(map(str, reductions))})."
        )
    timm_of(net).prune_intermediate_layers([kept[-1]], prune_norm=True, prune_head=True)
    return kept[-1]


def run_features(name: str, net: nn.Module) -> tuple[Any, set[int]]:
    """Run timm's `forward_features` on a black image; returns features and ids of modules used.

    Raises:
        UserError: the network requires a fixed image size.
    """
    own_size = timm_of(net).pretrained_cfg.get("input_size", (3, 224, 224))[-1]
    used: set[int] = set()
    handles = [
        module.register_forward_hook(lambda module, *_: used.add(id(module)))
        for module in net.modules()
    ]
    try:
        for size in (PROBE_SIZE, own_size + PROBE_SIZE):
            try:
                return timm_of(net).forward_features(blank(net, size)), used
            except (RuntimeError, AssertionError, ValueError):
                continue  # too small for a CNN without padding; a ViT fails with both sizes
    finally:
        for handle in handles:
            handle.remove()
    raise UserError(
        f"{name} requires images of {own_size}x{own_size} pixels and is not a CNN; {SUGGESTION}"
    )


def remove_unused(net: nn.Module, used: set[int]) -> None:
    """Replace a network's children by identities if none of their modules was used."""
    for name, child in list(net.named_children()):
        if not used & {id(module) for module in child.modules()}:
            setattr(net, name, nn.Identity())


@torch.no_grad()
def is_pointwise(layer: Callable[[Tensor], Tensor], channels: int) -> bool:
    """Whether a layer is pointwise: keeps the grid of (B, C, h, w) and never mixes places.

    >>> is_pointwise(nn.Conv2d(2, 5, 1), channels=2)
    True
    >>> is_pointwise(nn.Conv2d(2, 5, 3, padding=1), channels=2)
    False
    """
    grid = torch.rand(1, channels, 3, 5)
    changed = grid.clone()
    changed[..., 1, 2] += torch.randn(channels)  # differs by channel: a norm removes a common shift
    before, after = layer(grid), layer(changed)
    if before.ndim != 4 or before.shape[-2:] != grid.shape[-2:]:
        return False
    difference = (after - before).abs().amax((0, 1))
    here = difference[1, 2].item()
    difference[1, 2] = 0
    return difference.max().item() <= 1e-4 * here
