"""Weights files, safetensors or torch checkpoints, read without running any code in them."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vision_attn.core.errors import UserError, first_line
from vision_attn.core.torch_files import read_torch_file
from vision_attn.runs.old_formats import upgrade_tensor_names


def read_weights(place: Path) -> dict[str, torch.Tensor]:
    """Tensors of a weights file, safetensors or a torch checkpoint, without running its code.

    Raises:
        UserError: the file is missing, damaged or not a weights file.
    """
    if not place.is_file():
        raise UserError(f"there is no weights file {place}.")
    try:
        if place.suffix == ".safetensors":
            return all_finite(upgrade_tensor_names(load_file(place)), place)
        content = read_torch_file(place)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise unusable(place, error) from error
    except Exception as error:  # UnpicklingError and what torch wraps around it
        raise unusable(place, error) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise unusable(place, TypeError(f"it holds a {type(content).__name__}"))
    tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)}
    named = {str(k).removeprefix("model."): v for k, v in tensors.items()}
    return all_finite(upgrade_tensor_names(named), place)


def all_finite(tensors: dict[str, torch.Tensor], place: Path) -> dict[str, torch.Tensor]:
    """The tensors, if all their values are numbers.

    Raises:
        UserError: naming the first that is not.
    """
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{place} cannot be used: {name} holds NaN or infinite values.")
    return tensors


def unusable(place: Path, error: Exception) -> UserError:
    """The message for a weights file that cannot be read."""
    reason = first_line(error)[:160]
    return UserError(f"{place} is damaged or no weights file ({reason}).")
