"""Find pretrained weights that timm has downloaded before, without the network."""

from pathlib import Path

import timm
import torch
from huggingface_hub import try_to_load_from_cache

from vision_attn.models.pretrained.hub import FILES, repository


def cached_weights(network: str) -> Path | None:
    """The file of a network's weights in the local cache of timm's hub, or in torch's.

    >>> cached_weights("airbench") is None
    True
    """
    found = repository(network)
    if found is not None:
        name, revision = found
        for file in FILES:
            path = try_to_load_from_cache(name, file, revision=revision)
            if isinstance(path, str):  # else it is unknown, or known not to exist
                return Path(path)
    return cached_by_torch(network)


def cached_by_torch(network: str) -> Path | None:
    """The file of weights that timm downloads by their address, in torch's cache."""
    config = timm.get_pretrained_cfg(network)
    if config is None or not isinstance(config.url, str) or not config.url:
        return None
    path = Path(torch.hub.get_dir(), "checkpoints", config.url.rpartition("/")[2])
    return path if path.is_file() else None
