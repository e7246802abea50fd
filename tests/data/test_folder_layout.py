"""Folders as people have them: what is taken, what is skipped, and the line that says so."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import write_images
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.io.formats import EXTENSIONS, HAS_HEIF
from vision_attn.data.io.image import open_image
from vision_attn.data.io.paths import walk_images
from vision_attn.data.io.skipped_files import SkippedFiles
from vision_attn.data.sources.image_folder import ImageFolder


def names_of(source: ImageFolder, split: str = "train") -> list[str]:
    """Names of the images of a split, relative to the root."""
    return [str(Path(name).relative_to(source.root)) for name in source.splits()[split].names]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of two images each."""
    for seed, name in enumerate("ab"):
        write_images(tmp_path / "photos" / name, 2, seed)
    return tmp_path / "photos"


class TestSkipped:
    """Each kind of path that is not read is named on standard error, with an example."""

    @pytest.mark.parametrize(
        ("path", "said"),
        [
            ("a/scan.dcm", "files by their ending: 1 .dcm (a/scan.dcm; DICOM is not read"),
            ("b/deep/notes.txt", "files by their ending: 1 .txt (b/deep/notes.txt)"),
            ("b/photo", "files by their ending: 1 without one (b/photo)"),
            ("a/._000.png", "hidden files: 1 (a/._000.png)"),
            (".trash/a/000.png", "hidden folders: 1 (.trash)"),
            ("a/.ipynb_checkpoints/000.png", "hidden folders: 1 (a/.ipynb_checkpoints)"),
            ("__MACOSX/a/000.png", "hidden folders: 1 (__MACOSX)"),
            ("stray.jpg", "images outside the class folders: 1 (stray.jpg)"),
        ],
    )
    def test_a_line_names_it(
        self, photos: Path, path: str, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (photos / path).parent.mkdir(parents=True, exist_ok=True)
        (photos / path).write_bytes(b"")
        source = ImageFolder(str(photos))
        assert said in capsys.readouterr().err
        assert source.class_names == ["a", "b"]
        assert len(names_of(source)) == 4

    def test_nothing_is_said_of_a_folder_that_is_read_as_it_is(
        self, photos: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (photos / "a" / ".DS_Store").write_bytes(b"")
        (photos / "boxes.csv").write_text("file,xmin,ymin,xmax,ymax\n")
        (photos / "README.txt").write_text("about")
        ImageFolder(str(photos))
        assert capsys.readouterr() == ("", "")

    def test_folders_beside_the_splits_are_named_if_they_hold_images(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("train/a", "train/b", "test/a", "unlabeled/new"):
            write_images(tmp_path / name, 1, 0)
        write_images(tmp_path / "test", 1, 0)
        (tmp_path / "docs").mkdir()
        ImageFolder(str(tmp_path))
        said = capsys.readouterr().err
        assert "images outside the class folders: 1 (test/000.png)" in said
        assert "folders of images beside the splits: 1 (unlabeled)" in said
        assert "docs" not in said

    def test_test_images_without_labels_are_named(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("train/a", "train/b", "test"):
            write_images(tmp_path / name, 1, 0)
        assert set(ImageFolder(str(tmp_path)).splits()) == {"train"}
        assert "with images but no class folders: 1 (test)" in capsys.readouterr().err

    def test_runs_and_sheets_of_our_own_are_no_images(
        self, photos: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for inside, files in (
            ("runs/mine", ("config.yaml", "environment.json")),
            ("a/sheets", ("manifest.json", "000-evidence.npy")),
        ):
            write_images(photos / inside, 2, 9)
            for file in files:
                (photos / inside / file).write_text("")
        source = ImageFolder(str(photos))
        assert source.class_names == ["a", "b"]
        assert len(names_of(source)) == 4
        assert "folders that vision-attn wrote: 2 (a/sheets)" in capsys.readouterr().err

    def test_a_class_may_be_underscored(self, photos: Path) -> None:
        write_images(photos / "__background__", 2, 3)
        assert ImageFolder(str(photos)).class_names == ["__background__", "a", "b"]


class TestLinks:
    def test_class_folders_and_files_may_be_links(self, photos: Path, tmp_path: Path) -> None:
        write_images(tmp_path / "store", 2, 5)
        (photos / "c").symlink_to(tmp_path / "store")
        (photos / "a" / "linked.png").symlink_to(tmp_path / "store" / "000.png")
        source = ImageFolder(str(photos))
        assert source.class_names == ["a", "b", "c"]
        assert "a/linked.png" in names_of(source)

    def test_linked_folders_in_a_class_are_read_on_request(
        self, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_images(tmp_path / "store", 2, 5)
        (photos / "b" / "batch").symlink_to(tmp_path / "store")
        (tmp_path / "store" / "back").symlink_to(photos / "b")  # a cycle
        assert len(names_of(ImageFolder(str(photos)))) == 4
        said = capsys.readouterr().err
        assert "linked folders: 1 (b/batch)" in said
        assert "--data.source.follow_links true" in said
        names = names_of(ImageFolder(str(photos), follow_links=True))
        assert sorted(names)[-2:] == ["b/batch/000.png", "b/batch/001.png"]
        assert len(names) == 6
        assert "folders that were read already: 1 (b/batch/back)" in capsys.readouterr().err


class TestLayout:
    @pytest.mark.parametrize("above", ["archive", "archive/chest", "data/v1/photos"])
    def test_an_archive_that_was_unpacked_too_deep(
        self, tmp_path: Path, above: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("train/a", "train/b", "test/a"):
            write_images(tmp_path / above / name, 1, 0)
        write_images(tmp_path / "__MACOSX" / above / "train/a", 1, 0)
        source = ImageFolder(str(tmp_path))
        assert set(source.splits()) == {"train", "test"}
        assert f"nothing but {tmp_path / above}, which is used" in capsys.readouterr().out

    def test_a_single_class_is_no_archive(self, tmp_path: Path) -> None:
        write_images(tmp_path / "cat" / "shot1", 1, 0)
        write_images(tmp_path / "cat", 1, 0)
        with pytest.raises(UserError, match=r"only one class \('cat'\)"):
            ImageFolder(str(tmp_path))
        scored = ImageFolder(str(tmp_path), default_split="test")
        assert scored.class_names == ["cat"]

    @pytest.mark.parametrize("name", ["train", "Training"])
    def test_train_may_be_a_class(self, tmp_path: Path, name: str) -> None:
        for folder in ("bus", "car", f"{name}/electric", f"{name}/steam"):
            write_images(tmp_path / folder, 2, 0)
        with pytest.raises(UserError, match=f"is {name} a class, like bus, car, or the training"):
            ImageFolder(str(tmp_path))
        classes = ImageFolder(str(tmp_path), split_folders=False)
        assert classes.class_names == sorted(["bus", "car", name])
        assert len(names_of(classes)) == 8
        split = ImageFolder(str(tmp_path), split_folders=True)
        assert split.class_names == ["electric", "steam"]

    def test_train_beside_test_is_a_split(self, tmp_path: Path) -> None:
        for folder in ("train/a", "train/b", "test/a", "extra"):
            write_images(tmp_path / folder, 1, 0)
        assert set(ImageFolder(str(tmp_path)).splits()) == {"train", "test"}

    def test_check_asks_the_same_question(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for folder in ("bus", "train/electric", "train/steam"):
            write_images(tmp_path / folder, 2, 0)
        assert main(["check", str(tmp_path)]) == 1
        assert "is `train` a class like the folders beside it" in capsys.readouterr().out


def test_accents_may_be_stored_in_two_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, names in (("train", ("caf\u00e9", "tea")), ("val", ("cafe\u0301", "tea"))):
        for seed, name in enumerate(names):
            write_images(tmp_path / split / name, 3, seed)
    data = ImageDataModule(ImageFolder(str(tmp_path)))
    assert data.class_names == ["caf\u00e9", "tea"]
    assert data.splits["val"].labels == ["caf\u00e9"] * 3 + ["tea"] * 3
    assert "is stored with other Unicode characters" in capsys.readouterr().out


@pytest.mark.parametrize("ending", [".jpe", ".jfif", ".JIF", ".pjpeg", ".apng", ".avif", ".heic"])
def test_images_with_less_common_endings_are_read(tmp_path: Path, ending: str) -> None:
    if ending.lower() not in EXTENSIONS:
        pytest.skip(f"Pillow reads no {ending} here")
    formats = {".apng": "PNG", ".avif": "AVIF", ".heic": "HEIF"}
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = (250, 20, 20)
    file = tmp_path / f"a{ending}"
    Image.fromarray(picture).save(file, formats.get(ending, "JPEG"), quality=95)
    assert list(walk_images(tmp_path)) == [file]
    read = np.asarray(open_image(file)).astype(int)
    assert read.shape == (48, 64, 3)
    assert abs(read[4:20, 4:28] - (250, 20, 20)).max() <= 12
    assert abs(read[28:, 36:]).max() <= 12


def test_heic_files_are_named_without_their_package(tmp_path: Path) -> None:
    """Their line says what to install."""
    (tmp_path / "a.heic").write_bytes(b"")
    skipped = SkippedFiles()
    found = list(walk_images(tmp_path, skipped))
    if HAS_HEIF:
        assert found == [tmp_path / "a.heic"]
    else:
        assert "pip install 'vision-attn[heif]'" in skipped.line(tmp_path)


def test_names_that_are_not_utf8_are_counted(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.txt")).write_bytes(b"")
    skipped = SkippedFiles()
    assert list(walk_images(tmp_path, skipped)) == []
    assert "1 .txt" in skipped.line(tmp_path)
