"""Create timm's networks without their classifier, and take them apart."""

from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

from vision_attn.core.errors import UserError, did_you_mean, first_line, one_line
from vision_attn.models import airbench  # noqa: F401  (registers itself with timm)
from vision_attn.models.pretrained.missing_tensors import check_missing, missing_tensors
from vision_attn.models.pretrained.source import WAYS, weights_overlay
from vision_attn.models.strides import blank

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
    arguments: dict[str, Any] = {
        "pretrained": bool(pretrained),
        "pretrained_cfg_overlay": weights_overlay(name, pretrained),
        "num_classes": 0,
    }
    try:
        with missing_tensors() as missing:
            try:
                net = timm.create_model(name, **arguments, global_pool="", **options)
            except AssertionError:  # its head needs a pooling
                net = timm.create_model(name, **arguments, **options)
        check_missing(missing, net)
    except Exception as error:  # timm, its hub client and torch raise many kinds of errors here
        reason = first_line(error)
        if not pretrained:
            raise UserError(f"timm cannot build {name} with {options}: {reason}") from error
        hint = f"Ways to get some: {WAYS}."
        if isinstance(pretrained, str):
            reason, hint = one_line(error), "Are they of another network? Name it: --backbone NAME."
        raise UserError(f"cannot load pretrained weights for {name}: {reason}\n{hint}") from error
    timm_of(net).pretrained_cfg.pop("state_dict", None)  # a second copy of the weights
    return net


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
        UserError: the network requires a fixed image size, or its options do not fit together.
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
    except (AttributeError, TypeError, LookupError, ArithmeticError) as error:
        reason = first_line(error)[:120]
        raise UserError(f"{name} does not run with its backbone_options: {reason}.") from error
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
