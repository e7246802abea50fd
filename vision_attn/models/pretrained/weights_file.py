"""Pretrained weights that the user names: a file, or a folder that timm saved."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open

from vision_attn.core.errors import UserError
from vision_attn.core.json_file import read_json


def local_weights(path: str) -> dict[str, Any]:
    """The `pretrained_cfg_overlay` with which timm loads weights from a local file or folder.

    Raises:
        UserError: there is no such file or folder, or its `config.json` is damaged.
    """
    source = Path(path).expanduser()
    if source.is_file():
        return {"file": str(source)}
    if not source.is_dir():
        raise UserError(f"--model.pretrained: there is no file or folder {source}.")
    return {**folder_config(source), "source": "local-dir", "file": str(source)}


def folder_config(folder: Path) -> dict[str, Any]:
    """What timm's `config.json` in a folder of weights says about them; {} if there is none.

    Raises:
        UserError: it is damaged.
    """
    config_file = folder / "config.json"
    config = read_json(config_file) if config_file.is_file() else {}
    try:
        return dict(config.get("pretrained_cfg", {}))
    except (AttributeError, ValueError, TypeError) as error:
        raise UserError(f"--model.pretrained: {config_file} is damaged: {error}") from error


def network_of(path: str, networks: Iterable[str]) -> str | None:
    """The network that local weights are of, if the user does not name it.

    Args:
        path: a folder that timm saved, which names it, or a safetensors file.
        networks: those whose tensors are compared with the names in a file.

    Raises:
        UserError: the `config.json` in the folder is damaged.
    """
    source = Path(path).expanduser()
    if source.is_dir():
        about = source / "config.json"
        name = read_json(about).get("architecture") if about.is_file() else None
        return name if isinstance(name, str) and timm.is_model(name) else None
    stored = tensor_names(source)
    return next((name for name in networks if stored and features_of(name) <= stored), None)


def tensor_names(file: Path) -> set[str]:
    """Names of the tensors in a safetensors file, without reading them; none of other files."""
    if file.suffix != ".safetensors":
        return set()
    try:
        with safe_open(file, "pt") as tensors:
            return set(tensors.keys())
    except (SafetensorError, OSError):  # loading it will report that
        return set()


def features_of(network: str) -> set[str]:
    """Names of the tensors of timm's network without its classifier."""
    with torch.device("meta"):
        return set(timm.create_model(network, num_classes=0).state_dict())
