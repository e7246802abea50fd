"""A run is scored on what it kept, whatever has been done to the folder of its images since."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.recorded_splits import read_record
from vision_attn.runs.folder import RunFolder
from vision_attn.training.restore import evaluation_config, restore

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose splits were cut from one folder, and that folder beside it."""
    place = tmp_path_factory.mktemp("whole")
    for color, name in enumerate(("red", "green")):
        write_images(place / "images" / name, 20, color)
    words = ["fit", "--data", str(place / "images"), "--run_dir", str(place / "run"), *TINY_RUN]
    assert main([*words, "--trainer.max_epochs", "1", "--overlays", "false"]) == 0
    return place


def copied(run: Path, images: Path, place: Path) -> tuple[Path, Path]:
    """A run and its images, to be changed."""
    new_run, new_images = place / "run", place / "images"
    shutil.copytree(run, new_run)
    shutil.copytree(images, new_images)
    config = new_run / "config.yaml"
    config.write_text(config.read_text().replace(str(images), str(new_images)))
    return new_run, new_images


@pytest.fixture
def cut(whole: Path, tmp_path: Path) -> tuple[Path, Path]:
    """That run, and that folder."""
    return copied(whole / "run", whole / "images", tmp_path)


def scored(run: Path, stage: str) -> tuple[ImageDataModule, set[str]]:
    """The data that a run is scored on, and the files of one split."""
    folder = RunFolder(run)
    config = evaluation_config(folder, None, [], stage)
    data = restore(folder, config).datamodule
    root = data.source.root.resolve()
    return data, {str(Path(name).resolve().relative_to(root)) for name in data.splits[stage].names}


def kept(run: Path, split: str) -> set[str]:
    return {file for file, name in read_record(run / "split.csv").items() if name == split}


@pytest.mark.parametrize("stage", ["val", "test"])
def test_nothing_that_was_trained_on(cut: tuple[Path, Path], stage: str, capsys: Capture) -> None:
    run, root = cut
    before = kept(run, stage)
    assert scored(run, stage)[1] == before
    assert capsys.readouterr().out == ""
    write_images(root / "red" / "more", 30, 0)
    write_images(root / "blue", 5, 2)
    gone = root / sorted(before)[0]
    gone.unlink()
    data, now = scored(run, stage)
    told = capsys.readouterr().out
    assert now == before - {str(gone.relative_to(root))}
    assert f"of the {stage} images that the run kept 1 is gone" in told
    assert "of the images 35 are new since the run began: left out" in told
    assert {Path(name).parent.name for name in data.splits["train"].names} == {"red", "green"}
    verb = {"val": "validate", "test": "test"}[stage]
    assert main([verb, str(run)]) == 0
    assert f"{stage} images {len(now)}" in capsys.readouterr().out


def test_every_verb_that_looks_at_the_images(cut: tuple[Path, Path], capsys: Capture) -> None:
    run, root = cut
    write_images(root / "red" / "more", 30, 0)
    count = len(kept(run, "test"))
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert f"of {count} test images" in page
    words = ["--explainers", "evidence", "--metrics", "deletion", "--out", str(run / "e")]
    code = main(["evaluate", str(run), *words])
    told = capsys.readouterr()
    assert f"of {count} images" in told.out + told.err
    if code == 0:
        assert json.loads((run / "e" / "evaluation.json").read_text())["images"]["seen"] == count


def test_images_of_a_test_folder_may_be_added(
    trained: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    run, root = copied(*trained, tmp_path)
    write_images(root / "test" / "red" / "more", 3, 0)
    assert len(scored(run, "test")[1]) == 8 + 3
    assert capsys.readouterr().out == ""


def test_a_table_that_moves_an_image(tmp_path: Path, capsys: Capture) -> None:
    rows = {"train": 8, "val": 4, "test": 4}
    lines = ["path,label,split"]
    for color, name in enumerate(("red", "green")):
        write_images(tmp_path / name, 16, color)
        splits = [split for split, count in rows.items() for _ in range(count)]
        lines += [f"{name}/{k:03d}.png,{name},{split}" for k, split in enumerate(splits)]
    table, run = tmp_path / "t.csv", tmp_path / "run"
    table.write_text("\n".join(lines) + "\n")
    words = ["fit", "--data", str(table), "--run_dir", str(run), *TINY_RUN]
    assert main([*words, "--trainer.max_epochs", "1", "--overlays", "false"]) == 0
    table.write_text("\n".join([lines[0], lines[1].replace("train", "test"), *lines[2:]]) + "\n")
    capsys.readouterr()
    assert scored(run, "test")[1] == kept(run, "test")
    assert "of the test images 1 was trained on: left out" in capsys.readouterr().out


def test_its_own_folder_by_name(cut: tuple[Path, Path], capsys: Capture) -> None:
    """What the user names is scored; how much of it was trained on is told."""
    run, root = cut
    assert main(["test", str(run), "--data", str(root)]) == 0
    told = capsys.readouterr().out
    assert f"the run was trained on {len(kept(run, 'train'))} of these 40 images" in told
    assert "test images 40" in told


def test_a_record_from_a_stranger(cut: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    """Its files are compared with names alone: none is opened."""
    run, _ = cut
    (tmp_path / "secret.png").write_bytes(b"no image")
    (run / "split.csv").write_text("file,label,split\n../secret.png,red,test\n/etc/passwd,x,test\n")
    assert main(["test", str(run)]) == 2
    assert "this data has no test images" in capsys.readouterr().err
    (run / "split.csv").write_bytes(b"\x00\xff\x00")
    assert main(["test", str(run)]) == 2
    assert "split.csv" in capsys.readouterr().err
