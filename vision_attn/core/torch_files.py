"""Safely load untrusted `torch.save` files (tensors and plain values only)."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch


def read_torch_file(path: str | Path) -> object:
    """Load a `torch.save` file onto the CPU, without running code in it.

    Files that would take far more memory than disk space (decompression bombs) are refused.

    Raises:
        ValueError: the file is compressed, or a tensor claims more values than are stored.
        Exception: of many kinds, which torch raises for damaged files.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as parts:
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()):
                raise ValueError("it is compressed, which torch.save never does")
    content = torch.load(path, map_location="cpu", weights_only=True)
    for tensor in tensors_in(content):
        if tensor.layout != torch.strided or tensor.nbytes > tensor.untyped_storage().nbytes():
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} stores too few values")
    return content


def tensors_in(content: object) -> Iterator[torch.Tensor]:
    """All tensors in nested dictionaries and lists; an object that is repeated counts once.

    >>> one = torch.zeros(2)
    >>> len(list(tensors_in({"a": one, "b": [one, (torch.ones(1), "text")]})))
    2
    """
    left, seen = [content], set()
    while left:
        part = left.pop()
        if id(part) in seen:  # references can repeat the parts of a small file billions of times
            continue
        seen.add(id(part))
        if isinstance(part, torch.Tensor):
            yield part
        elif isinstance(part, dict):
            left += part.values()
        elif isinstance(part, list | tuple):
            left += part
