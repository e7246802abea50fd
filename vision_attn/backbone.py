"""Images in [0, 1] -> normalise -> feature grid. The only file that knows timm."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from vision_attn.errors import UserError, did_you_mean

PROBE_SIZE = 64  # pixels a side: every stride of a common CNN shows as a step of its own


class Backbone(nn.Module):
    """Any CNN of timm as a feature extractor, with its normalisation inside.

    Args:
        name: timm's name of the architecture.
        pretrained: False for fresh weights, True for timm's own from its hub, or the path of a
            weights file, or of a folder that timm saved.
        unstrided: how many halvings of the grid, counted from the stem, are left out. Small
            images need it: a ResNet reduces 32x32 to 1x1. The weights keep their shapes.
        options: further arguments of `timm.create_model`.
        stride: the last stages are left off, from where images are reduced more than this many
            times; None keeps all. Places then see less of the image, and less than an object:
            what they argue for is what lies under them.

    Attributes:
        channels: width C of the features.
        mean, std: (1, 3, 1, 1), what the weights expect images to be normalised with.

    Raises:
        UserError: no such architecture, no such weights, or not a CNN.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        pretrained: bool | str = False,
        unstrided: int = 0,
        options: dict[str, Any] | None = None,
        stride: int | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.options = dict(options or {})
        self.stride = stride
        self.unstrided = 0
        self.net = create_network(name, pretrained, self.options)
        self.channels = count_channels(name, self.net)
        if stride is not None:
            self.channels = leave_off_stages(name, self.net, stride)
        for key in ("mean", "std"):
            numbers = torch.tensor(pretrained_cfg(self.net)[key])
            self.register_buffer(key, numbers.view(1, -1, 1, 1))
        for _ in range(unstrided):
            self.leave_out_stride()
        # Convolutions of this layout take 0.6 of the time on CPUs, and tensor cores want it too.
        self.net.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, C, h, w) of images (B, 3, H, W) in [0, 1]."""
        images = images.to(self.mean.dtype)  # a model in half precision takes float images, too
        return self.net((images - self.mean) / self.std)

    def grid(self, image_size: int) -> tuple[int, int]:
        """The places (h, w) that a square image of that size ends on.

        Raises:
            UserError: the network cannot take images that small.
        """
        try:
            height, width = probe(self.net, image_size).shape[-2:]
            return height, width
        except RuntimeError as error:
            raise UserError(
                f"{self.name} cannot take {image_size}x{image_size} images "
                f"({str(error).splitlines()[0]}); choose a larger --data.image_size."
            ) from error

    def refine(self, image_size: int, min_grid: int) -> None:
        """Leave out strides, from the stem on, until images of that size end on a fine grid.

        Raises:
            UserError: the network has too few strides that can be left out.
        """
        while min(self.grid(image_size)) < min_grid:
            self.leave_out_stride()

    def leave_out_stride(self) -> None:
        """Run the first strided layers at half their stride, parallel branches together."""
        layers = first_strided_layers(self.net)
        if not layers:
            raise UserError(
                f"{self.name} has no stride left to leave out; choose larger images "
                "(--data.image_size) or a smaller --model.min_grid."
            )
        for path in layers:
            self.net.set_submodule(path, at_half_stride(self.net.get_submodule(path)))
        self.unstrided += 1


def create_network(name: str, pretrained: bool | str, options: dict[str, Any]) -> nn.Module:
    """Build timm's network without its classifier and without its pooling."""
    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models())
        raise UserError(
            f"timm has no backbone '{name}'.{hint} Python's timm.list_models() lists them."
        )
    overlay = local_weights(pretrained) if isinstance(pretrained, str) else None
    try:
        return timm.create_model(
            name,
            pretrained=bool(pretrained),
            pretrained_cfg_overlay=overlay,
            num_classes=0,
            global_pool="",
            **options,
        )
    except Exception as error:  # timm, its hub client and torch raise whatever they like here
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        if not pretrained:
            raise UserError(f"timm cannot build {name} with {options}: {first_line}") from error
        raise UserError(
            f"no pretrained weights for {name}: {first_line}\n"
            "Offline, name a weights file or a folder that timm saved: --model.pretrained PATH."
        ) from error


def local_weights(path: str) -> dict[str, Any]:
    """What timm must be told to take weights from a file or a folder of its own."""
    place = Path(path).expanduser()
    if place.is_file():
        return {"file": str(place)}
    if not place.is_dir():
        raise UserError(f"--model.pretrained: there is no file or folder {place}.")
    described = place / "config.json"
    config = json.loads(described.read_text()) if described.is_file() else {}
    return {**config.get("pretrained_cfg", {}), "source": "local-dir", "file": str(place)}


def pretrained_cfg(net: nn.Module) -> dict[str, Any]:
    """What timm knows of a network's weights."""
    return cast(dict[str, Any], net.pretrained_cfg)


def count_channels(name: str, net: nn.Module) -> int:
    """Width of the features, after making sure that they come as a grid (B, C, h, w)."""
    input_size = pretrained_cfg(net).get("input_size", (3, 224, 224))[-1]
    try:
        features = probe(net, PROBE_SIZE)
    except (RuntimeError, AssertionError, ValueError):  # too small for it, or a fixed size
        features = probe(net, input_size)
    widths = {getattr(net, key, None) for key in ("num_features", "head_hidden_size")}
    if features.ndim != 4 or features.shape[1] not in widths:
        raise UserError(
            f"{name} gives no grid of features (its output is {tuple(features.shape)}); "
            "choose a CNN such as resnet18, convnext_tiny or efficientnet_b0."
        )
    return features.shape[1]


def leave_off_stages(name: str, net: nn.Module, stride: int) -> int:
    """Cut a network after its last stage of at most that stride; returns its new width.

    Raises:
        UserError: no stage has so small a stride, or timm cannot cut this network.
    """
    stages = [(info["reduction"], info["num_chs"]) for info in cast(Any, net).feature_info]
    kept = [index for index, (reduction, _) in enumerate(stages) if reduction <= stride]
    if not kept or not hasattr(net, "prune_intermediate_layers"):
        strides = ", ".join(str(reduction) for reduction, _ in stages)
        raise UserError(
            f"--model.stride: {name} cannot be cut at stride {stride} (its stages: {strides})."
        )
    cast(Any, net).prune_intermediate_layers([kept[-1]], prune_norm=True, prune_head=True)
    return stages[kept[-1]][1]


@torch.no_grad()
def probe(net: nn.Module, size: int) -> Tensor:
    """Features of one black image, without touching the network's state."""
    was_training = net.training
    like = next(net.parameters())
    features = net.eval()(torch.zeros(1, 3, size, size, device=like.device, dtype=like.dtype))
    net.train(was_training)
    return features


def first_strided_layers(net: nn.Module) -> list[str]:
    """Paths of the layers that do the first halving of the grid.

    Layers that reduce grids of the same size belong together: the branches of a residual block
    must agree.
    """
    reduced: list[tuple[int, str]] = []

    def note(path: str) -> Callable[[nn.Module, tuple, Any], None]:
        def hook(_: nn.Module, inputs: tuple, output: Any) -> None:
            if not (inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor)):
                return
            if inputs[0].ndim == output.ndim == 4 and output.shape[-1] > 1:
                before, after = inputs[0].shape[-1], output.shape[-1]
                if before / after > 1.4:
                    reduced.append((before, path))

        return hook

    leaves = [(path, layer) for path, layer in net.named_modules() if strides(layer)]
    handles = [layer.register_forward_hook(note(path)) for path, layer in leaves]
    try:
        probe(net, 4 * PROBE_SIZE)
    finally:
        for handle in handles:
            handle.remove()
    if not reduced:
        return []
    largest = max(size for size, _ in reduced)
    return [path for size, path in reduced if size == largest]


def strides(layer: nn.Module) -> bool:
    """Whether this is a single layer with a stride, such as a convolution or a pooling."""
    return hasattr(layer, "stride") and not any(True for _ in layer.children())


def at_half_stride(layer: nn.Module) -> nn.Module:
    """The layer with half its stride, its weights untouched.

    A layer without weights whose window is its stride (a 2x2 average) would shift the grid if it
    moved by less than its window, and has nothing to say at stride 1: it becomes the identity.
    """
    stride: Any = layer.stride
    pair = as_pair(stride)
    halved = tuple(max(math.ceil(step / 2), 1) for step in pair)
    window = as_pair(getattr(layer, "kernel_size", 0))
    if not any(True for _ in layer.parameters()) and (window == pair or window == (0, 0)):
        return nn.Identity()
    changes: dict[str, Any] = {"stride": halved if isinstance(stride, tuple) else halved[0]}
    if window == pair and getattr(layer, "padding", None) == (0, 0):  # a patchify stem
        changes["padding"] = tuple((w - s) // 2 for w, s in zip(window, halved, strict=True))
    for key, value in changes.items():
        setattr(layer, key, value)
    return layer


def as_pair(value: Any) -> tuple[int, int]:
    """A size along both sides.

    >>> as_pair(2), as_pair((2, 1))
    ((2, 2), (2, 1))
    """
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)
