"""Safely load untrusted `torch.save` files (tensors and plain values only)."""

import pickletools
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO

import torch

PICKLES = 5  # at the start of a file in torch's format before 1.6: magic, protocol, system, content
ALLOWED = {
    "collections.OrderedDict",
    "torch.Size",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor_v2",
    "torch.storage.TypedStorage",
    "torch.storage.UntypedStorage",
}
"""What a file may name. torch's own list (`weights_only`) has more, with which a few bytes can take
gigabytes: `bytearray(n)`, sparse and meta tensors."""


def read_torch_file(path: str | Path) -> object:
    """Load a `torch.save` file onto the CPU, without running code in it.

    Its memory is bounded by the size of the file: files that would take far more (decompression
    bombs) are refused before they are loaded.

    Raises:
        ValueError: the file is compressed, its parts overlap, it names anything but tensors and
            plain values, or a tensor claims more values than are stored.
        Exception: of many kinds, which torch raises for damaged files.
    """
    for name in names_in(Path(path)):
        kind = getattr(torch, name.removeprefix("torch."), None) if name.count(".") == 1 else None
        is_type = name.endswith("Storage") or isinstance(kind, torch.dtype)
        if name not in ALLOWED and not is_type:
            raise ValueError(f"it holds {name[:80]!r}, not only tensors and plain values")
    content = torch.load(path, map_location="cpu", weights_only=True)
    for tensor in tensors_in(content):
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise ValueError("it holds a tensor of another kind than dense on the CPU")
        if tensor.nbytes > tensor.untyped_storage().nbytes():
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} stores too few values")
    return content


def names_in(path: Path) -> Iterator[str]:
    """The Python objects that a file names, read from its pickle without running it.

    Raises:
        ValueError: the file is compressed, its parts overlap, or it hides what it names.
    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            for _ in range(PICKLES):
                yield from names_in_pickle(file)
        return
    with zipfile.ZipFile(path) as parts:
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()):
            raise ValueError("it is compressed, which torch.save never does")
        if sum(part.file_size for part in parts.infolist()) > path.stat().st_size:
            raise ValueError("its parts overlap: together they are larger than the file")
        for part in parts.namelist():
            if part.endswith(".pkl"):
                yield from names_in_pickle(BytesIO(parts.read(part)))


def names_in_pickle(file: IO[bytes]) -> Iterator[str]:
    """The objects that one pickle names; the file is then at its end.

    >>> import pickle
    >>> list(names_in_pickle(BytesIO(pickle.dumps({"a": 1}, protocol=2))))
    []
    >>> list(names_in_pickle(BytesIO(pickle.dumps(bytearray, protocol=2))))
    ['__builtin__.bytearray']
    """
    for code, argument, _ in pickletools.genops(file):
        if code.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".", 1)
        elif code.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            raise ValueError("it names objects in a way that torch.save does not")


def tensors_in(content: object) -> Iterator[torch.Tensor]:
    """All tensors in nested dictionaries and lists; each object is visited once.

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
