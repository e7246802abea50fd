"""A run is scored on the images it held out, even if its data folder has changed since."""

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
    return {file for file, name in read_record(run / "split.csv").items() if name == split}


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


def test_data_given_by_the_user_is_scored_with_a_leakage_warning(
    run_and_images: tuple[Path, Path], capsys: Capture
) -> None:
    """All given images are scored; a line says how many of them the run was trained on."""
    run, root = run_and_images
    assert main(["test", str(run), "--data", str(root)]) == 0
    output = capsys.readouterr().out
    assert f"the run was trained on {len(recorded(run, 'train'))} of these 40 images" in output
    assert "test images 40" in output


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
