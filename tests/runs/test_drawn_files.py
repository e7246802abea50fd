"""Files of a run that Hypothesis draws are read, or refused with one line."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.hostile import Maker, places, put
from vision_attn.core.errors import UserError
from vision_attn.core.json_file import read_json
from vision_attn.data.sources.table_jsonl import read_jsonl
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.model_spec import ModelSpec
from vision_attn.runs.yaml_file import load_yaml

SIGNS = st.text("abc01 \n\t:-,[]{}&*<!|>'\"%@`?#.~", max_size=40)
CONTENTS = st.binary(max_size=40) | (SIGNS | st.text(max_size=40)).map(str.encode)
SPEC = {
    "format": 1, "backbone": "resnet10t", "backbone_options": {"channels": [8, 8, 8, 8]},
    "stride": 32, "removed_strides": 0, "pooling": {"class_path": "average", "init_args": {}},
    "class_names": ["a", "b"], "image_size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2],
}  # fmt: skip


def read_or_refused(read: Callable[[Path], object], name: str, content: bytes) -> str:
    """Read a file in a new folder: the message if it is refused, and that it was read if not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            read(path)
        except UserError as error:
            return str(error)
    return f"{name} was read"


@settings(max_examples=500)
@pytest.mark.parametrize("read", [load_yaml, read_json, read_jsonl])
@given(CONTENTS)
def test_any_content(read: Callable[[Path], object], content: bytes) -> None:
    message = read_or_refused(read, "file.json", content)
    assert "file.json" in message
    assert "\n" not in message


def load_spec(path: Path) -> ModelSpec:
    return RunFolder(path.parent).load_spec()


@settings(max_examples=500)
@given(st.randoms(use_true_random=False), st.integers(1, 2))
def test_any_specification(random: Random, changes: int) -> None:
    """`model.json` with values replaced by classes, extreme numbers and strange names."""
    spec, maker = json.loads(json.dumps(SPEC)), Maker(random, Path("/outside"))
    for _ in range(changes):
        put(spec, maker.choose(places(spec)), maker.value())
    message = read_or_refused(load_spec, "model.json", json.dumps(spec).encode())
    assert "model.json" in message
    assert "\n" not in message


def test_the_specification_that_is_changed_is_valid() -> None:
    message = read_or_refused(load_spec, "model.json", json.dumps(SPEC).encode())
    assert message == "model.json was read"
