"""Initialize a model from another run or a weights file, and report which tensors were loaded."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from vision_attn.core.errors import UserError
from vision_attn.runs.folder import run_of
from vision_attn.runs.weights import read_weights

ENOUGH = 0.9
"""Share of the backbone's parameters that a source must fill."""


def init_from(model: nn.Module, source: Path, class_names: list[str]) -> str:
    """Load weights from a run folder or a weights file; returns a line on what was loaded.

    Tensors are matched by name and shape; bare backbone weights are matched to the backbone.
    Frozen parameters keep their values. The head is loaded only if the source has the same classes
    in the same order.

    Raises:
        UserError: the source fills less than nine tenths of the backbone: the rest of it would be
            random, so that what is loaded is of no use.
    """
    tensors, same_classes = source_tensors(source, class_names)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    own = {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}
    loaded = best_match(tensors, own)
    if not same_classes:
        loaded = {name: t for name, t in loaded.items() if not name.startswith("head.")}
    backbone = [name for name in own if name.startswith("backbone.net.")]
    filled, needed = count(loaded, backbone), count(own, backbone)
    if filled < ENOUGH * needed:
        raise UserError(
            f"--init_from: {source} fills {filled:,} of the backbone's {needed:,} parameters, so "
            "it is of another network. Name its run folder, or its --backbone and its options."
        )
    model.load_state_dict(loaded, strict=False)
    fresh = sorted(name for name in own if name not in loaded)
    message = (
        f"loaded {count(loaded, loaded):,} of {count(own, own):,} parameters from {source}, "
        f"{filled:,} of {needed:,} in the backbone"
    )
    if fresh:
        more = f" and {len(fresh) - 4} more" if len(fresh) > 4 else ""
        message += f"; new: {', '.join(fresh[:4])}{more}"
    return message


def count(tensors: Mapping[str, Tensor], names: Iterable[str]) -> int:
    """The number of values in the named tensors, with those of buffers; missing ones have none.

    >>> import torch
    >>> count({"a": torch.ones(2, 3), "b": torch.ones(5)}, ["a", "c"])
    6
    """
    return sum(tensors[name].numel() for name in names if name in tensors)


def source_tensors(source: Path, class_names: list[str]) -> tuple[dict[str, Tensor], bool]:
    """The tensors of a run or a weights file, and whether its head has the same classes."""
    folder = run_of(source)
    if folder is None:
        return read_weights(source), False
    weights = folder.weights if source.is_dir() else source
    return read_weights(weights), folder.load_spec().class_names == class_names


def best_match(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Match tensors by name and shape, with the prefix under which most of them match."""
    candidates = []
    for prefix in ("", "backbone.", "backbone.net."):
        named = {prefix + name: tensor for name, tensor in tensors.items()}
        candidates.append({k: v for k, v in named.items() if k in own and v.shape == own[k].shape})
    return max(candidates, key=len)
