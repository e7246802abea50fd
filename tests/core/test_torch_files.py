"""Checkpoints from elsewhere: what `read_torch_file` refuses before it loads them."""

import copy
import io
import zipfile
from pathlib import Path

import pytest
import torch

from vision_attn.core.torch_files import read_torch_file


def overlapping(path: Path) -> None:
    """Write 20 tensors of the same megabyte: the zip file lists it under as many names."""
    content = io.BytesIO()
    tensors = {f"w{number}": torch.empty(2**18) for number in range(20)}
    torch.save({"state_dict": tensors}, content)
    parts = zipfile.ZipFile(content)
    with zipfile.ZipFile(path, "w") as file:
        for part in parts.infolist():
            if "/data/" not in part.filename or part.filename.endswith("/data/0"):
                file.writestr(part.filename, parts.read(part))
        for part in parts.infolist():
            if part.filename not in file.NameToInfo:
                first = file.getinfo(f"{part.filename.rpartition('/')[0]}/0")
                again = copy.copy(first)
                again.filename = again.orig_filename = part.filename
                file.filelist.append(again)


def test_overlapping_parts_are_refused(tmp_path: Path) -> None:
    overlapping(tmp_path / "x.ckpt")
    assert (tmp_path / "x.ckpt").stat().st_size < 2**21
    tensors = torch.load(tmp_path / "x.ckpt", weights_only=True)["state_dict"].values()
    assert sum(tensor.nbytes for tensor in tensors) == 20 * 2**20  # torch loads them
    with pytest.raises(ValueError, match="its parts overlap"):
        read_torch_file(tmp_path / "x.ckpt")


def test_checkpoints_are_read(tmp_path: Path) -> None:
    content = {"a": torch.arange(7, dtype=torch.bfloat16), "b": [1, "x", None, (2.5, True)]}
    for name, zipped in (("new.pt", True), ("old.pt", False)):
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
        found = read_torch_file(tmp_path / name)
        assert isinstance(found, dict)
        assert torch.equal(found["a"], content["a"])  # type: ignore[arg-type]
        assert found["b"] == content["b"]
