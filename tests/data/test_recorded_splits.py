"""A run is scored on the images it held out, even if its data folder has changed since."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.recorded_splits import as_record, as_recorded, read_record
from vision_attn.data.sources.image_folder import ImageFolder
from vision_attn.data.sources.image_table import ImageTable
from vision_attn.data.sources.table_rows import read_rows
from vision_attn.data.split import Split, joined
from vision_attn.runs.folder import RunFolder
from vision_attn.training.restore import evaluation_config, restore

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `run`, whose splits were cut from one folder of images, and those `images`."""
    parent = tmp_path_factory.mktemp("shared")
    for color, name in enumerate(("red", "green")):
        write_images(parent / "images" / name, 20, color)
    command = ["fit", "--data", str(parent / "images"), "--run_dir", str(parent / "run"), *TINY_RUN]
    assert main([*command, "--trainer.max_epochs", "1", "--overlays", "false"]) == 0
    return parent


def copy_run(run: Path, images: Path, parent: Path) -> tuple[Path, Path]:
    """Copy a run and its images, so that a test can change them."""
    new_run, new_images = parent / "run", parent / "images"
    shutil.copytree(run, new_run)
    shutil.copytree(images, new_images)
    config = new_run / "config.yaml"
    config.write_text(config.read_text().replace(str(images), str(new_images)))
    return new_run, new_images


@pytest.fixture
def run_and_images(shared_run: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the shared run, and of its images."""
    return copy_run(shared_run / "run", shared_run / "images", tmp_path)


def scored(run: Path, stage: str) -> tuple[ImageDataModule, set[str]]:
    """The data that a run is scored on, and the files of its split `stage`."""
    folder = RunFolder(run)
    config = evaluation_config(folder, None, [], stage)
    data = restore(folder, config).datamodule
    root = data.source.root.resolve()
    return data, {str(Path(name).resolve().relative_to(root)) for name in data.splits[stage].names}


def recorded(run: Path, split: str) -> set[str]:
    """The files of a split in the `split.csv` of a run."""
    found = read_record(run / "split.csv").by_path
    return {file for file, image in found.items() if image.split == split}


@pytest.mark.parametrize("stage", ["val", "test"])
def test_training_images_are_never_scored(
    run_and_images: tuple[Path, Path], stage: str, capsys: Capture
) -> None:
    run, root = run_and_images
    before = recorded(run, stage)
    assert scored(run, stage)[1] == before
    assert capsys.readouterr().out == ""
    write_images(root / "red" / "more", 30, 0)
    write_images(root / "blue", 5, 2)
    missing = root / sorted(before)[0]
    missing.unlink()
    data, now = scored(run, stage)
    output = capsys.readouterr().out
    assert now == before - {str(missing.relative_to(root))}
    assert f"1 of the run's {stage} images is missing" in output
    assert "35 of the images are new since the run was started: left out" in output
    assert {Path(name).parent.name for name in data.splits["train"].names} == {"red", "green"}
    command = {"val": "validate", "test": "test"}[stage]
    assert main([command, str(run)]) == 0
    assert f"{stage} images {len(now)}" in capsys.readouterr().out


def test_report_and_evaluate_use_the_recorded_test_images(
    run_and_images: tuple[Path, Path], capsys: Capture
) -> None:
    run, root = run_and_images
    write_images(root / "red" / "more", 30, 0)
    count = len(recorded(run, "test"))
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert f"of {count} test images" in page
    options = ["--explainers", "evidence", "--metrics", "deletion", "--out", str(run / "e")]
    code = main(["evaluate", str(run), *options])
    output = capsys.readouterr()
    assert f"of {count} images" in output.out + output.err
    if code == 0:
        assert json.loads((run / "e" / "evaluation.json").read_text())["images"]["seen"] == count


def test_images_added_to_a_test_folder_are_scored(
    trained: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    run, root = copy_run(*trained, tmp_path)
    write_images(root / "test" / "red" / "more", 3, 0)
    assert len(scored(run, "test")[1]) == 8 + 3
    assert capsys.readouterr().out == ""


def test_a_training_image_moved_to_test_in_the_table_is_left_out(
    tmp_path: Path, capsys: Capture
) -> None:
    rows = {"train": 8, "val": 4, "test": 4}
    lines = ["path,label,split"]
    for color, name in enumerate(("red", "green")):
        write_images(tmp_path / name, 16, color)
        splits = [split for split, count in rows.items() for _ in range(count)]
        lines += [f"{name}/{k:03d}.png,{name},{split}" for k, split in enumerate(splits)]
    table, run = tmp_path / "t.csv", tmp_path / "run"
    table.write_text("\n".join(lines) + "\n")
    command = ["fit", "--data", str(table), "--run_dir", str(run), *TINY_RUN]
    assert main([*command, "--trainer.max_epochs", "1", "--overlays", "false"]) == 0
    table.write_text("\n".join([lines[0], lines[1].replace("train", "test"), *lines[2:]]) + "\n")
    capsys.readouterr()
    assert scored(run, "test")[1] == recorded(run, "test")
    assert "1 of the test images was used for training: left out" in capsys.readouterr().out


class TestOtherData:
    """Images that the user names: what the run was trained on is never scored."""

    @pytest.mark.parametrize("command", ["test", "validate", "evaluate"])
    def test_the_data_of_the_run_moved(
        self, command: str, run_and_images: tuple[Path, Path], capsys: Capture
    ) -> None:
        """As if run and data came to another machine."""
        run, root = run_and_images
        moved = root.rename(root.with_name("elsewhere"))
        words = ["--explainers", "evidence", "--metrics", "deletion"]
        code = main([command, str(run), "--data", str(moved), *(words * (command == "evaluate"))])
        output = capsys.readouterr().out
        stage = "val" if command == "validate" else "test"
        trained = len(recorded(run, "train"))
        assert f"{trained} of these 40 images were the run's train images: left out" in output
        if command != "evaluate":
            assert code == 0
            assert f"{stage} images {len(recorded(run, stage))}" in output

    def test_renamed_and_copied_files(
        self, run_and_images: tuple[Path, Path], tmp_path: Path, capsys: Capture
    ) -> None:
        """Content is recognized under any name, and new images are scored."""
        run, root = run_and_images
        trained, held_out = (sorted(recorded(run, split)) for split in ("train", "test"))
        for name in ("red", "green"):
            (tmp_path / "mine" / name).mkdir(parents=True)
        for number, name in enumerate([*trained[:5], *held_out]):
            label = Path(name).parent.name
            shutil.copy(root / name, tmp_path / "mine" / label / f"copy-{number}.png")
        write_images(tmp_path / "mine" / "red", 3, 7)
        assert main(["test", str(run), "--data", str(tmp_path / "mine")]) == 0
        output = capsys.readouterr().out
        total = 5 + len(held_out) + 3
        assert f"5 of these {total} images were the run's train images: left out" in output
        assert f"test images {len(held_out) + 3}" in output

    def test_nothing_but_training_images(
        self, run_and_images: tuple[Path, Path], capsys: Capture
    ) -> None:
        run, root = run_and_images
        for split in ("val", "test"):
            for name in recorded(run, split):
                (root / name).unlink()
        assert main(["test", str(run), "--data", str(root)]) == 2
        assert "images were used by the run (" in capsys.readouterr().err

    def test_other_images_under_the_same_names(
        self, run_and_images: tuple[Path, Path], tmp_path: Path, capsys: Capture
    ) -> None:
        run, _ = run_and_images
        for color, name in ((5, "red"), (4, "green")):
            write_images(tmp_path / "other" / name, 20, color, size=(30, 30))
        assert main(["test", str(run), "--data", str(tmp_path / "other")]) == 0
        output = capsys.readouterr().out
        assert "left out" not in output
        assert "test images 40" in output

    def test_a_run_of_an_older_version(
        self, run_and_images: tuple[Path, Path], capsys: Capture
    ) -> None:
        """Its images are known by their paths only."""
        run, root = run_and_images
        lines = (run / "split.csv").read_text().splitlines()
        (run / "split.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
        expected = len(recorded(run, "test"))
        assert main(["test", str(run)]) == 0
        assert main(["test", str(run), "--data", str(root)]) == 0
        assert capsys.readouterr().out.count(f"test images {expected}") == 2


def test_files_of_the_run_that_were_renamed(
    run_and_images: tuple[Path, Path], capsys: Capture
) -> None:
    """They stay in their splits."""
    run, root = run_and_images
    count = len(recorded(run, "test"))
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        path.rename(path.with_name(f"renamed-{number}.png"))
    assert main(["test", str(run)]) == 0
    output = capsys.readouterr().out
    assert f"test images {count}" in output
    assert "check" not in output


def test_files_of_the_run_that_were_replaced(
    run_and_images: tuple[Path, Path], capsys: Capture
) -> None:
    """Another image under the name of a test image is a new one."""
    run, root = run_and_images
    name = sorted(recorded(run, "test"))[0]
    write_images(root / "new", 1, 9, size=(31, 17))
    (root / "new" / "000.png").replace(root / name)
    (root / "new").rmdir()
    assert main(["test", str(run)]) == 0
    output = capsys.readouterr().out
    assert "1 of the run's test images is missing" in output
    assert "1 of the images is new since the run was started: left out" in output


NAMES = [
    " edge ", "52e6", "on", "a,b", 'say "x"', "a\u2028b", "a\x85b", "a\rb", "a\nb", "tab\tb",
    "\udce9t\udce9", "\u00e9", "'", "=1+1", "null", "~", "-", "\ufeffbom",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_come_back_as_they_were(name: str, tmp_path: Path) -> None:
    """Of files and classes: every name that the file system allows."""
    for color, label in enumerate((name, "other")):
        write_images(tmp_path / "images" / label, 12, color)
        first = tmp_path / "images" / label / "000.png"
        first.rename(first.with_name(f"{name}.png"))
    splits = ImageDataModule(ImageFolder(str(tmp_path / "images")), image_size=16).splits
    path = tmp_path / "split.csv"
    path.write_bytes(as_record(splits, tmp_path / "images").encode("utf-8", "surrogateescape"))
    record = read_record(path)
    expected = {
        os.path.relpath(file, tmp_path / "images"): split
        for split, images in splits.items()
        for file in images.names
    }
    assert {file: image.split for file, image in record.by_path.items()} == expected
    found, lines = as_recorded({"train": joined_all(splits)}, record, tmp_path / "images")
    assert lines == []
    assert {k: sorted(v.names) for k, v in found.items()} == {
        k: sorted(v.names) for k, v in splits.items()
    }
    table = ImageTable(str(path), root=str(tmp_path / "images"))
    assert sorted(table.class_names) == sorted({name, "other"})


def joined_all(splits: dict[str, Split]) -> Split:
    """All images as one split."""
    train, *others = splits.values()
    for other in others:
        train = joined(train, other)
    return train


ALPHABET = st.characters(exclude_characters="\0/", exclude_categories=["Cs"]) | st.sampled_from(
    "\udc80\udcc3\udce9\udcff\r\n\x85\u2028 ,'\""
)


def is_a_file_name(text: str) -> bool:
    """Whether a file system can have this name: bytes that are UTF-8 become characters."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape")) == text


@given(
    st.lists(
        st.tuples(
            st.text(ALPHABET, min_size=1, max_size=12).filter(is_a_file_name),
            st.text(ALPHABET, min_size=1, max_size=12).filter(is_a_file_name),
            st.sampled_from(["train", "val", "test"]),
        ),
        min_size=1, unique_by=lambda row: row[0],
    )
)  # fmt: skip
def test_any_record(rows: list[tuple[str, str, str]]) -> None:
    """Text that Unicode has, and bytes that are not UTF-8 (surrogates)."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        splits = {
            split: Split(
                [f"{root}/x{file}" for file, _, own in rows if own == split],
                [label for _, label, own in rows if own == split],
                lambda index, size: torch.empty(0),
            )
            for split in ("train", "val", "test")
        }
        path = root / "split.csv"
        path.write_bytes(as_record(splits, root).encode("utf-8", "surrogateescape"))
        found = [(row.path, row.label, row.split) for row in read_rows(path)]
        assert sorted(found) == sorted((f"x{file}", label, split) for file, label, split in rows)


def test_an_untrusted_split_csv_opens_no_files(
    run_and_images: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    """Its paths are only compared with the names of the data's own files."""
    run, _ = run_and_images
    (tmp_path / "secret.png").write_bytes(b"not an image")
    (run / "split.csv").write_text("file,label,split\n../secret.png,red,test\n/etc/passwd,x,test\n")
    assert main(["test", str(run)]) == 2
    assert "this data has no test images" in capsys.readouterr().err
    (run / "split.csv").write_bytes(b"\x00\xff\x00")
    assert main(["test", str(run)]) == 2
    assert "split.csv" in capsys.readouterr().err
