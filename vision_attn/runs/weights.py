"""Safely load weights files: safetensors, or torch checkpoints without running their code."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vision_attn.core.errors import UserError, first_line
from vision_attn.core.torch_files import read_torch_file
from vision_attn.runs.old_formats import upgrade_tensor_names


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Load the tensors of a safetensors file or a torch checkpoint, without running its code.

    Raises:
        UserError: the file is missing, damaged, not a weights file, or contains NaN values.
    """
    if not path.is_file():
        raise UserError(f"there is no weights file {path}.")
    try:
        if path.suffix == ".safetensors":
            return all_finite(upgrade_tensor_names(load_file(path)), path)
        content = read_torch_file(path)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise unreadable(path, error) from error
    except Exception as error:  # UnpicklingError, or the error that torch raises instead
        raise unreadable(path, error) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise unreadable(path, TypeError(f"it contains a {type(content).__name__}"))
    tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)}
    named = {str(k).removeprefix("model."): v for k, v in tensors.items()}
    return all_finite(upgrade_tensor_names(named), path)


def all_finite(tensors: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The tensors, if all their values are finite.

    Raises:
        UserError: naming the first tensor with NaN or infinite values.
    """
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{path} cannot be used: {name} contains NaN or infinite values.")
    return tensors


def unreadable(path: Path, error: Exception) -> UserError:
    """The error for a weights file that cannot be read."""
    reason = first_line(error)[:160]
    return UserError(f"{path} is damaged or not a weights file ({reason}).")
