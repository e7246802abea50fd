"""Atomic writes: the old file or the new one, never half of one."""

import json
import os
from pathlib import Path

import pytest

from vision_attn.core.atomic import WriteError, atomic_write, replace_symlink, write_json


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError, match="the disk is full: .*a.txt was not written"):
        atomic_write(path, fail)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


def test_names_that_are_not_utf8_are_written_as_escapes(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    write_json(tmp_path / "a.json", {"file": name, "also": "ü"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text)["file"] == name
    assert "ü" in text


def test_a_link_is_replaced(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        replace_symlink(tmp_path / "latest", name)
        assert (tmp_path / "latest").resolve() == tmp_path / name
