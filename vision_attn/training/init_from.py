"""Starting from other weights: what fits is taken over, and what was taken is told."""

from pathlib import Path

from torch import Tensor, nn

from vision_attn.core.errors import UserError
from vision_attn.runs.folder import RunFolder, read_weights


def init_from(model: nn.Module, source: Path, class_names: list[str]) -> str:
    """Fill a model from a run folder or a weights file, and say in a line what was loaded.

    Tensors are matched by name and shape; bare backbone weights are matched to the backbone. The
    head is kept only if it belongs to the same classes in the same order.

    Raises:
        UserError: nothing in the source fits the model.
    """
    tensors, same_classes = source_tensors(source, class_names)
    held = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    own = {name: tensor for name, tensor in model.state_dict().items() if name not in held}
    fitting = best_match(tensors, own)
    if not same_classes:
        fitting = {name: t for name, t in fitting.items() if not name.startswith("head.")}
    if not fitting:
        raise UserError(f"--init_from: no tensor of {source} fits this model.")
    model.load_state_dict(fitting, strict=False)
    fresh = sorted(name for name in own if name not in fitting)
    told = f"loaded {len(fitting)} of {len(own)} tensors from {source}"
    if fresh:
        more = f" and {len(fresh) - 4} more" if len(fresh) > 4 else ""
        told += f"; new: {', '.join(fresh[:4])}{more}"
    return told


def source_tensors(source: Path, class_names: list[str]) -> tuple[dict[str, Tensor], bool]:
    """The tensors of a source, and whether its head belongs to these classes."""
    if not source.is_dir():
        return read_weights(source), False
    folder = RunFolder(source)
    return read_weights(folder.weights), folder.load_spec().class_names == class_names


def best_match(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors that fit by name and shape, under the prefix under which most do."""
    candidates = []
    for prefix in ("", "backbone.", "backbone.net."):
        named = {prefix + name: tensor for name, tensor in tensors.items()}
        candidates.append({k: v for k, v in named.items() if k in own and v.shape == own[k].shape})
    return max(candidates, key=len)
