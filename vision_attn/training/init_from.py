"""Initialize a model from another run or a weights file, and report which tensors were loaded."""

from pathlib import Path

from torch import Tensor, nn

from vision_attn.core.errors import UserError
from vision_attn.runs.folder import RunFolder, read_weights


def init_from(model: nn.Module, source: Path, class_names: list[str]) -> str:
    """Load weights from a run folder or a weights file; returns a line on what was loaded.

    Tensors are matched by name and shape; bare backbone weights are matched to the backbone.
    Frozen parameters keep their values. The head is loaded only if the source has the same classes
    in the same order.

    Raises:
        UserError: no tensor of the source fits the model.
    """
    tensors, same_classes = source_tensors(source, class_names)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    own = {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}
    loaded = best_match(tensors, own)
    if not same_classes:
        loaded = {name: t for name, t in loaded.items() if not name.startswith("head.")}
    if not loaded:
        raise UserError(f"--init_from: no tensor of {source} fits this model.")
    model.load_state_dict(loaded, strict=False)
    fresh = sorted(name for name in own if name not in loaded)
    message = f"loaded {len(loaded)} of {len(own)} tensors from {source}"
    if fresh:
        more = f" and {len(fresh) - 4} more" if len(fresh) > 4 else ""
        message += f"; new: {', '.join(fresh[:4])}{more}"
    return message


def source_tensors(source: Path, class_names: list[str]) -> tuple[dict[str, Tensor], bool]:
    """The tensors of a run or a weights file, and whether its head has the same classes."""
    if not source.is_dir():
        return read_weights(source), False
    folder = RunFolder(source)
    return read_weights(folder.weights), folder.load_spec().class_names == class_names


def best_match(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Match tensors by name and shape, with the prefix under which most of them match."""
    candidates = []
    for prefix in ("", "backbone.", "backbone.net."):
        named = {prefix + name: tensor for name, tensor in tensors.items()}
        candidates.append({k: v for k, v in named.items() if k in own and v.shape == own[k].shape})
    return max(candidates, key=len)
