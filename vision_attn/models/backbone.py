"""Images in [0, 1] -> normalise -> feature grid. The only file that uses timm's models."""

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
from vision_attn.models.strides import blank, in_eval, leave_out_first_stride

PROBE_SIZE = 64  # pixels a side: enough for most CNNs, and quick
RESERVED = {
    "cache_dir",
    "checkpoint_path",  # timm would read it; a stranger's model.json must open no file
    "features_only",
    "global_pool",
    "num_classes",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
}
CHOOSE = "choose a CNN such as resnet18, convnext_tiny or efficientnet_b0."


class Backbone(nn.Module):
    """Any CNN of timm as a feature extractor, with its normalisation inside.

    What timm has between features and classifier (a norm, a 1x1 convolution) is taken along where
    it acts on each place by itself. Where it mixes places (VGG's 7x7 convolution, the attention of
    CLIP's ResNets), or cannot be had without timm's pooling, it is left off.

    Args:
        name: timm's name of the architecture.
        pretrained: False for fresh weights, True for timm's own from its hub, or the path of a
            weights file, or of a folder that timm saved.
        removed_strides: how many halvings of the grid, counted from the stem, are left out. Small
            images need it: a ResNet reduces 32x32 to 1x1. The weights keep their shapes.
        options: further arguments of `timm.create_model`.
        stride: the last stages are left off, from where images are reduced more than this many
            times; None keeps all. Places then see less of the image, and less than an object:
            what they argue for is what lies under them.

    Attributes:
        channels: width C of the features.
        strides: how many times the whole network reduces images by the end of each stage.
        finer: widths of the stages before the last, finest first: what else `grids` can give.
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
            widths = widths[: leave_off_stages(name, self.net, stride) + 1]
        self.finer = tuple(widths[:-1])
        self.uses_timm_head = True
        self.channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
        self.channels = self.probe_head(widths[-1])
        self.last_grid = nn.Identity()  # where Grad-CAM looks
        for key in ("mean", "std"):
            numbers = torch.tensor(timm_of(self.net).pretrained_cfg[key])
            self.register_buffer(key, numbers.view(1, -1, 1, 1))
        for _ in range(removed_strides):
            self.leave_out_stride()
        # Convolutions of this layout take 0.6 of the time on CPUs, and tensor cores want it too.
        for parameter in self.net.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, C, h, w) of images (B, 3, H, W) in [0, 1]."""
        features = timm_of(self.net).forward_features(self.normalized(images))
        return self.last_grid(self.head(features))

    def grids(self, images: Tensor, finer: int) -> list[Tensor]:
        """The features, last, after those of the `finer` stages before them, finest first."""
        if finer == 0:
            return [self(images)]
        last = len(self.finer)
        features, stages = timm_of(self.net).forward_intermediates(
            self.normalized(images), indices=list(range(last - finer, last + 1))
        )
        return [*stages[:-1], self.last_grid(self.head(features))]

    def normalized(self, images: Tensor) -> Tensor:
        """Images as the weights expect them."""
        images = images.to(self.mean.dtype)  # a model in half precision takes float images, too
        return (images - self.mean) / self.std

    def init_from_data(self, sample: Callable[[], Tensor]) -> None:
        """Let a network that asks for it (airbench) see training images (B, 3, H, W) at first.

        They are read for such a network alone: a sample of large photographs fills a memory.
        """
        if hasattr(self.net, "init_from_data"):
            timm_of(self.net).init_from_data(self.normalized(sample()))

    def frozen_parameters(self, epoch: int) -> list[nn.Parameter]:
        """Parameters that a network that says so (airbench) does not learn in an epoch."""
        return (
            timm_of(self.net).frozen_parameters(epoch)
            if hasattr(self.net, "frozen_parameters")
            else []
        )

    def post_step(self) -> None:
        """Let a network that asks for it (airbench) put its weights right after an update."""
        if hasattr(self.net, "post_step"):
            timm_of(self.net).post_step()

    def head(self, features: Tensor) -> Tensor:
        """From timm's features to a grid (B, C, h, w), by way of timm's head where it acts so."""
        if self.uses_timm_head:
            features = timm_of(self.net).forward_head(features)
        return features.movedim(-1, 1) if self.channels_last else features

    def probe_head(self, last_width: int) -> int:
        """Find out whether timm's head can be taken along; returns the width of the features.

        Raises:
            UserError: the network gives no grid, or takes images of its own size only.
        """
        net = timm_of(self.net)
        with in_eval(net):
            features, used = run_features(self.name, net)
            if not isinstance(features, Tensor) or features.ndim != 4:
                raise UserError(f"{self.name} gives no grid of features; {CHOOSE}")
            if self.channels_last:
                width = features.shape[-1]
                self.uses_timm_head = acts_by_place(lambda x: self.head(x.movedim(1, -1)), width)
            else:
                self.uses_timm_head = acts_by_place(self.head, features.shape[1])
            channels = self.head(features).shape[1]
        if channels not in {last_width, net.num_features, getattr(net, "head_hidden_size", None)}:
            raise UserError(f"{self.name} gives no grid of features; {CHOOSE}")
        if not self.uses_timm_head:
            leave_off_unused(net, used)
        return channels

    def grid(self, image_size: int) -> tuple[int, int]:
        """The places (h, w) that a square image of that size ends on.

        Raises:
            UserError: the network cannot take images of that size.
        """
        try:
            with in_eval(self):
                height, width = self(blank(self, image_size)).shape[-2:]
            return height, width
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UserError(
                f"{self.name} cannot take {image_size}x{image_size} images "
                f"({first_line(error)}); choose another --data.image_size or backbone."
            ) from error

    def refine(self, image_size: int, min_grid: int) -> None:
        """Leave out strides, from the stem on, until images of that size end on a fine grid.

        Raises:
            UserError: the network has too few strides that can be left out.
        """
        while not self.is_fine(image_size, min_grid):
            self.leave_out_stride()

    def is_fine(self, image_size: int, min_grid: int) -> bool:
        """Whether images of that size end on at least `min_grid` places a side."""
        try:
            return min(self.grid(image_size)) >= min_grid
        except UserError:  # some networks cannot do anything with a grid of one place
            return False

    def lr_scales(self, first: float) -> dict[Tensor, float]:
        """Of each parameter the share of the learning rate, from `first` up to 1 by even ratios.

        The steps are timm's groups of layers, a stage each where it names stages. A network of
        which timm knows no groups, or one alone, learns at 1 throughout.
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

    def leave_out_stride(self) -> None:
        """Run the first strided layers at half their stride, parallel branches together."""
        if not leave_out_first_stride(self):
            raise UserError(
                f"{self.name} has no stride left to leave out; choose larger images "
                "(--data.image_size) or a smaller --model.min_grid."
            )
        self.removed_strides += 1


def timm_of(net: nn.Module) -> Any:  # what timm adds to a module has no type
    """The network with what timm adds to a module, which no type describes."""
    return net


def create_network(name: str, pretrained: bool | str, options: dict[str, Any]) -> nn.Module:
    """Build timm's network without its classifier and, where timm can, without its pooling."""
    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models())
        raise UserError(
            f"timm has no backbone '{name}'.{hint} Python's timm.list_models() lists them."
        )
    if reserved := sorted(RESERVED & set(options)):
        raise UserError(
            f"backbone_options: {reserved[0]} is not to be set there; weights come from "
            "--model.pretrained or --init_from."
        )
    overlay = local_weights(pretrained) if isinstance(pretrained, str) else None
    wanted: dict[str, Any] = {
        "pretrained": bool(pretrained),
        "pretrained_cfg_overlay": overlay,
        "num_classes": 0,
    }
    try:
        try:
            return timm.create_model(name, **wanted, global_pool="", **options)
        except AssertionError:  # its head cannot do without a pooling
            return timm.create_model(name, **wanted, **options)
    except Exception as error:  # timm, its hub client and torch raise whatever they like here
        reason = first_line(error)
        if not pretrained:
            raise UserError(f"timm cannot build {name} with {options}: {reason}") from error
        raise UserError(
            f"no pretrained weights for {name}: {reason}\n"
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


def leave_off_stages(name: str, net: nn.Module, stride: int) -> int:
    """Cut a network after its last stage of at most that stride; returns that stage's number.

    Raises:
        UserError: no stage has so small a stride, or timm cannot cut this network.
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
    """Run timm's features on a black image; returns the ids of the modules that made them, too.

    Raises:
        UserError: the network takes images of its own size only.
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
                continue  # too small for a CNN without padding; any size is too odd for a ViT
    finally:
        for handle in handles:
            handle.remove()
    raise UserError(
        f"{name} takes images of {own_size}x{own_size} pixels only, as no CNN does; {CHOOSE}"
    )


def leave_off_unused(net: nn.Module, used: set[int]) -> None:
    """Put nothing in the place of those parts of a network of which no module was used."""
    for name, part in list(net.named_children()):
        if not used & {id(module) for module in part.modules()}:
            setattr(net, name, nn.Identity())


@torch.no_grad()
def acts_by_place(layer: Callable[[Tensor], Tensor], channels: int) -> bool:
    """Whether a layer keeps the grid (B, C, h, w) and never mixes its places.

    >>> acts_by_place(nn.Conv2d(2, 5, 1), channels=2)
    True
    >>> acts_by_place(nn.Conv2d(2, 5, 3, padding=1), channels=2)
    False
    """
    grid = torch.rand(1, channels, 3, 5)
    changed = grid.clone()
    changed[..., 1, 2] += torch.randn(channels)  # a norm forgets what all channels share
    before, after = layer(grid), layer(changed)
    if before.ndim != 4 or before.shape[-2:] != grid.shape[-2:]:
        return False
    difference = (after - before).abs().amax((0, 1))
    here = difference[1, 2].item()
    difference[1, 2] = 0
    return difference.max().item() <= 1e-4 * here
