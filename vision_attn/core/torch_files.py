"""Reading what torch.save wrote, whoever it is from: tensors and plain values alone."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch


def read_torch_file(place: str | Path) -> object:
    """The content of a file, on the CPU. No code in it runs, and it does not grow as it is read.

    Raises:
        ValueError: it is packed, or a tensor in it claims to be larger than its values are.
        Exception: whatever torch raises on a damaged file, of many kinds.
    """
    if zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as parts:
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()):
                raise ValueError("its parts are packed, which torch.save does not do")
    content = torch.load(place, map_location="cpu", weights_only=True)
    for tensor in tensors_in(content):
        if tensor.layout != torch.strided or tensor.nbytes > tensor.untyped_storage().nbytes():
            raise ValueError(f"a tensor of {tuple(tensor.shape)} has fewer values than that")
    return content


def tensors_in(content: object) -> Iterator[torch.Tensor]:
    """All tensors of nested dictionaries and lists; what is there several times, once.

    >>> one = torch.zeros(2)
    >>> len(list(tensors_in({"a": one, "b": [one, (torch.ones(1), "text")]})))
    2
    """
    left, seen = [content], set()
    while left:
        part = left.pop()
        if id(part) in seen:  # a small file can repeat its parts into billions
            continue
        seen.add(id(part))
        if isinstance(part, torch.Tensor):
            yield part
        elif isinstance(part, dict):
            left += part.values()
        elif isinstance(part, list | tuple):
            left += part
