"""Pretrained weights that the user names: a file, or a folder that timm saved."""

from pathlib import Path
from typing import Any

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
