"""Folders in the layout of Hugging Face's ImageFolder, and tables in JSON Lines."""

import json
from pathlib import Path

import pytest

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.data.sources.image_table import ImageTable
from vision_attn.data.sources.metadata_folder import MetadataFolder
from vision_attn.training.config import resolve_data

ROWS = [("000.png", "cat"), ("sub/000.png", "dog"), ("sub/001.png", "cat")]


def write_split(folder: Path, ending: str, seed: int = 0) -> None:
    """Three images and their metadata, as CSV or JSON Lines."""
    write_images(folder, 1, seed)
    write_images(folder / "sub", 2, seed + 1)
    if ending == "csv":
        text = "\n".join(["file_name,label,text", *(f"{file},{label},a" for file, label in ROWS)])
    else:
        lines = (
            {"file_name": file, "label": label, "objects": {"bbox": [1]}} for file, label in ROWS
        )
        text = "\n".join(map(json.dumps, lines)) + "\n"
    (folder / f"metadata.{ending}").write_text(text)


def found(source: ImageTable) -> dict[str, list[tuple[str, str]]]:
    """File and class of each image, by split."""
    return {
        name: [
            (str(Path(file).relative_to(source.root)), label)
            for file, label in zip(split.names, split.labels, strict=True)
        ]
        for name, split in source.splits().items()
    }


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_metadata_beside_the_images(tmp_path: Path, ending: str) -> None:
    write_split(tmp_path, ending)
    assert resolve_data(str(tmp_path))["class_path"].endswith("MetadataFolder")
    assert found(MetadataFolder(str(tmp_path))) == {"train": ROWS}
    assert set(found(MetadataFolder(str(tmp_path), default_split="test"))) == {"test"}
    assert found(ImageTable(str(tmp_path / f"metadata.{ending}"))) == {"train": ROWS}


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_metadata_in_each_split(tmp_path: Path, ending: str) -> None:
    for seed, split in enumerate(("train", "validation", "Test")):
        write_split(tmp_path / split, ending, seed)
    assert resolve_data(str(tmp_path))["class_path"].endswith("MetadataFolder")
    source = MetadataFolder(str(tmp_path))
    assert found(source) == {
        name: [(f"{folder}/{file}", label) for file, label in ROWS]
        for name, folder in (("train", "train"), ("val", "validation"), ("test", "Test"))
    }
    if ending == "csv":
        assert set(source.column("text").values()) == {"a"}
    assert len(source.column("label")) == 9


def test_from_fit_to_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, split in enumerate(("train", "test")):
        write_split(tmp_path / "set" / split, "csv", seed)
    run = tmp_path / "run"
    words = ["fit", "--data", str(tmp_path / "set"), "--run_dir", str(run), *TINY_RUN]
    with (tmp_path / "set" / "train" / "metadata.csv").open("a") as table:
        for k in range(6):
            write_images(tmp_path / "set" / "train" / f"more{k}", 1, k)
            table.write(f"\nmore{k}/000.png,{'cat' if k % 2 else 'dog'},b")
    assert main([*words, "--epochs", "1"]) == 0
    assert "the classes are in" in capsys.readouterr().out
    assert main(["test", str(run)]) == 0


def test_check_reads_the_same_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, split in enumerate(("train", "test")):
        write_split(tmp_path / split, "jsonl", seed)
    main(["check", str(tmp_path)])
    assert "3 train, 3 test images of 2 classes" in capsys.readouterr().out


def test_metadata_without_classes_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate("ab"):
        write_images(tmp_path / name, 2, seed)
    (tmp_path / "metadata.csv").write_text("file_name,text\na/000.png,a cat\n")
    assert resolve_data(str(tmp_path))["class_path"].endswith("ImageFolder")
    assert "has no column of classes: class folders are used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"path": "a.png", "label": "a"}\n[1]\n', "line 2: not a JSON object"),
        ('{"path": "a.png", "label": "a"}\n{"path"\n', "line 2: not JSON"),
        ("\n\n", "has no rows"),
        ('{"path": "a.png", "label": null}\n', "line 1: the label is empty"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.jsonl").write_text(text)
    with pytest.raises(UserError, match=said):
        ImageTable(str(tmp_path / "t.jsonl"))
