"""Names and settings survive every file that is written: 2,000 data sets that hypothesis draws.

Each has classes and files with any name that a file system allows, as a folder or as a table. What
`fit` writes about it (`config.yaml`, `split.csv`, `model.json`) and what `predict` writes is read
again and compared. Training between them changes no name, and is left out; a few data sets with
the worst names are trained for real.
"""

import csv
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.core.json_file import read_json
from vision_attn.core.spreadsheet import text_cell
from vision_attn.core.terminal import printable
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.io.skipped_files import is_hidden
from vision_attn.data.recorded_splits import as_record, as_recorded, read_record
from vision_attn.data.sources.base import ImageSource
from vision_attn.data.sources.image_folder import ImageFolder
from vision_attn.data.sources.image_table import ImageTable
from vision_attn.inference.prediction import Prediction
from vision_attn.inference.prediction_table import PredictionWriter
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.model_spec import ModelSpec
from vision_attn.runs.yaml_file import load_yaml
from vision_attn.training.auto_settings import config_text

EXAMPLES = 1_000  # of each of the two tests
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # else where temporary files are
NASTY = [
    "52e6", "1_0", "on", "No", "null", "~", "0x1f", "1:30", "1e3", ".5", "+1", "-", "=1+1", "@x",
    " a", "a ", "a\x85b", "a\u2028b", "a\rb", "a\nb", "a\tb", "a,b", "a;b", 'a"b', "'a", "#a",
    "a: b", "2024-01-01",
    "{a}", "[a]", "\ufeffa", "\udcff", "\udce9t", "é", "e\u0301", "中", "a\\b", "%s", "$HOME",
]  # fmt: skip
CHARACTERS = st.characters(exclude_characters="\0/", exclude_categories=["Cs"]) | st.sampled_from(
    "\udc80\udcc3\udce9\udcff\r\n\x85\u2028 ,;'\"#:.\\"
)


def is_a_name(text: str) -> bool:
    """Whether a file system can have this name, and it is not hidden."""
    encoded = text.encode("utf-8", "surrogateescape")
    return os.fsdecode(encoded) == text and len(encoded) <= 80 and not is_hidden(text)


NAMES = (st.sampled_from(NASTY) | st.text(CHARACTERS, min_size=1, max_size=10)).filter(is_a_name)
DATA = st.lists(
    st.tuples(NAMES, st.lists(NAMES, min_size=3, max_size=4, unique=True)),
    min_size=2, max_size=3, unique_by=lambda each: each[0],
)  # fmt: skip


def write_folder(root: Path, classes: list[tuple[str, list[str]]]) -> None:
    """Write one small image per name, each with a content of its own."""
    number = 0
    for label, stems in classes:
        (root / label).mkdir(parents=True)
        for stem in stems:
            number += 1
            Image.fromarray(np.full((2, 2, 3), number, np.uint8)).save(root / label / f"{stem}.png")


def files_of(data: ImageDataModule) -> dict[str, tuple[str, str]]:
    """The split and the class of each file."""
    return {
        name: (split, label)
        for split, images in data.splits.items()
        for name, label in zip(images.names, images.labels, strict=True)
    }


def check_split_csv(data: ImageDataModule, root: Path, place: Path) -> None:
    """Check that `split.csv` restores the splits, of the data and as a table of its own."""
    path = place / "split.csv"
    path.write_bytes(as_record(data.splits, root).encode("utf-8", "surrogateescape"))
    everything = data.source.splits()
    found, lines = as_recorded(everything, read_record(path), root)
    again = ImageDataModule(data.source, image_size=8, group="none")
    again.regroup(found)
    assert (files_of(again), lines) == (files_of(data), [])
    table = ImageDataModule(ImageTable(str(path), root=str(root)), image_size=8)
    as_written = {os.path.realpath(name): one for name, one in files_of(data).items()}
    assert {os.path.realpath(name): one for name, one in files_of(table).items()} == as_written


def check_model_json(class_names: list[str], place: Path) -> None:
    """Check that `model.json` has the classes in their order."""
    folder = RunFolder(place)
    spec = ModelSpec(
        "resnet18", {}, None, 0, {"class_path": "average", "init_args": {}}, class_names, 32,
        [0.5] * 3, [0.5] * 3,
    )  # fmt: skip
    folder.save_spec(spec)
    assert folder.load_spec().class_names == class_names


def check_config_yaml(config: dict[str, Any], place: Path) -> None:
    """Check that `config.yaml` has the settings as they were, text as text."""
    path = place / "config.yaml"
    path.write_text(config_text(config, ["data.batch_size"]), encoding="utf-8")
    found = load_yaml(path)
    expected = {key: value for key, value in config.items() if value is not None}
    assert {key: found[key] for key in expected} == expected
    assert repr({key: found[key] for key in expected}) == repr(expected)  # 1 is not 1.0 nor True


def check_predictions(files: list[str], class_names: list[str], place: Path) -> None:
    """Check that each file has a row with its name and its class, in CSV and in JSON Lines."""
    probabilities = [1.0] + [0.0] * (len(class_names) - 1)
    for ending in ("csv", "jsonl"):
        out = place / f"predictions.{ending}"
        writer = PredictionWriter(out, class_names)
        writer.begin()
        for file in files:
            writer.add(Prediction.of(Path(file), class_names, probabilities))
        writer.finish()
        writer.close()
        if ending == "csv":
            with out.open(newline="", encoding="utf-8") as table:
                rows = list(csv.DictReader(table))
            shown = [text_cell(printable(name)) for name in (*files, class_names[0])]
        else:
            rows = [json.loads(line) for line in out.read_text("utf-8").split("\n")[:-1]]
            shown = [*map(printable, files), class_names[0]]  # class names are exact there
        assert [row["file"] for row in rows] == shown[:-1]
        assert {row["predicted"] for row in rows} == {shown[-1]}


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(DATA, st.booleans(), st.integers(0, 3))
def test_names(classes: list[tuple[str, list[str]]], as_table: bool, seed: int) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        root, place = Path(name, "photos"), Path(name, "run")
        place.mkdir()
        write_folder(root, classes)
        source: ImageSource = ImageFolder(str(root), split_folders=False)
        data = ImageDataModule(source, image_size=8, group="none", seed=seed)
        labels = {(Path(file).name, label) for file, (_, label) in files_of(data).items()}
        assert labels == {(f"{stem}.png", label) for label, stems in classes for stem in stems}
        assert sorted(data.class_names) == sorted(label for label, _ in classes)
        check_split_csv(data, root, place)
        if as_table:
            table = ImageTable(str(place / "split.csv"), root=str(root))
            data = ImageDataModule(table, image_size=8)
            check_split_csv(data, table.root, place)
        check_model_json(data.class_names, place)
        check_predictions(sorted(files_of(data)), data.class_names, place)


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Thousands of small files need not survive a power failure: `fsync` would take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
SETTINGS = st.recursive(
    VALUES | st.sampled_from([name for name in NASTY if name.isprintable()]) | st.text(
        st.characters(exclude_categories=["Cs"]), max_size=12
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text("abcdefg_0123456789", min_size=1, max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.dictionaries(st.sampled_from(["model", "data", "trainer", "ema"]), SETTINGS, min_size=1))
def test_settings(config: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as place:
        check_config_yaml(config, Path(place))


@pytest.mark.parametrize("names", [["52e6", " on ", "a,b"], ["=1+1", "a\nb", "\udce9t"]])
def test_training_for_real(names: list[str], tmp_path: Path) -> None:
    for seed, name in enumerate(names):
        write_images(tmp_path / "photos" / name, 6, seed)
        first = tmp_path / "photos" / name / "000.png"
        first.rename(first.with_name(f"{name}.png"))
    run = tmp_path / "run"
    words = ["fit", "--data", str(tmp_path / "photos"), "--run_dir", str(run), *TINY_RUN]
    assert main([*words, "--epochs", "1", "--data.group", "none"]) == 0
    assert sorted(read_json(run / "model.json")["class_names"]) == sorted(names)
    assert main(["test", str(run)]) == 0
    out = tmp_path / "predictions.csv"
    assert main(["predict", str(run), str(tmp_path / "photos"), "--out", str(out)]) == 0
    with out.open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    expected = {text_cell(printable(str(file))) for file in (tmp_path / "photos").glob("*/*.png")}
    assert {row["file"] for row in rows} == expected
    assert {row["predicted"] for row in rows} <= {text_cell(printable(name)) for name in names}
