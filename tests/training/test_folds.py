"""`fit --folds K`: every image is scored once, by a model that was trained without it."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.data.recorded_splits import read_record

Capture = pytest.CaptureFixture[str]


def words(photos: Path, run: Path, *more: str) -> list[str]:
    """A short cross-validation of three folds."""
    given = ["fit", "--data", str(photos), "--run_dir", str(run), "--folds", "3"]
    return [*given, *TINY_RUN, "--epochs", "1", *more]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four subjects with three related shots each in two classes, and test images of their own."""
    folder = tmp_path_factory.mktemp("folds") / "photos"
    for seed, label in enumerate(("red", "green")):
        for subject in range(4):
            write_images(folder / "train" / label / f"s{subject}", 3, seed)
        write_images(folder / "test" / label, 2, seed)
    return folder


@pytest.fixture(scope="module")
def run(photos: Path) -> Path:
    """A finished cross-validation with the shots of a subject kept together."""
    place = photos.parent / "run"
    assert main(words(photos, place, "--data.group", "folder")) == 0
    return place


def rows_of(run: Path) -> list[dict[str, str]]:
    """The predictions out of fold."""
    with (run / "predictions.csv").open(newline="") as table:
        return list(csv.DictReader(table))


def test_every_image_is_scored_once_by_a_model_without_its_group(run: Path, photos: Path) -> None:
    rows = rows_of(run)
    files = [row["file"] for row in rows]
    assert sorted(files) == sorted(
        str(path.relative_to(photos)) for path in (photos / "train").rglob("*.png")
    )
    for row in rows:
        recorded = read_record(run / "folds" / row["fold"] / "split.csv").by_path
        assert recorded[row["file"]].split == "test"
        subject = str(Path(row["file"]).parent)
        related = {image.split for file, image in recorded.items() if file.startswith(subject)}
        assert related == {"test"}
    assert {row["fold"] for row in rows} == {"1", "2", "3"}


def test_scores_are_those_of_the_rows(run: Path) -> None:
    rows, scores = rows_of(run), json.loads((run / "metrics.json").read_text())
    right = [row["predicted"] == row["label"] for row in rows]
    assert scores["folds/accuracy"] == pytest.approx(sum(right) / len(right))
    per_fold = []
    for fold in "123":
        own = [r for r, row in zip(right, rows, strict=True) if row["fold"] == fold]
        per_fold.append(sum(own) / len(own))
        theirs = json.loads((run / "folds" / fold / "metrics.json").read_text())
        assert theirs["test/accuracy"] == pytest.approx(per_fold[-1])
    assert scores["folds/accuracy_mean"] == pytest.approx(sum(per_fold) / 3)
    assert scores["folds/accuracy_low"] <= scores["folds/accuracy"] <= scores["folds/accuracy_high"]
    for row in rows:
        assert float(row["probability"]) == float(row[f"p_{row['predicted']}"])


def test_the_kept_model_is_trained_on_all_but_the_own_test_images(run: Path, photos: Path) -> None:
    record = read_record(run / "split.csv").by_path
    assert len(record) == len(list(photos.rglob("*.png")))
    assert {file for file, image in record.items() if image.split == "test"} == {
        str(path.relative_to(photos)) for path in (photos / "test").rglob("*.png")
    }


def test_without_own_test_images_none_are_held_out(tmp_path: Path) -> None:
    for seed, label in enumerate(("red", "green")):
        write_images(tmp_path / "photos" / label, 9, seed)
    run = tmp_path / "run"
    assert main(words(tmp_path / "photos", run, "--data.group", "none")) == 0
    splits = {image.split for image in read_record(run / "split.csv").by_path.values()}
    assert splits == {"train", "val"}
    assert len(rows_of(run)) == 18
    assert main(["test", str(run)]) == 2


def test_the_same_command_goes_on(run: Path, photos: Path, tmp_path: Path, capsys: Capture) -> None:
    """After a stop in the third fold: the first two are kept, and the result is the same."""
    again = tmp_path / "run"
    (again / "folds").mkdir(parents=True)
    for fold in "12":
        shutil.copytree(run / "folds" / fold, again / "folds" / fold)
    assert main(words(photos, again, "--data.group", "folder")) == 0
    printed = capsys.readouterr().out
    assert printed.count("is finished, and kept") == 2
    assert rows_of(again) == rows_of(run)
    assert main(words(photos, again, "--data.group", "folder")) == 2  # all is done


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--folds", "1"], "--folds must be between 2 and 100"),
        (["--max_minutes", "5"], "--folds takes no --max_minutes"),
        (["--resume"], "repeat the command without --resume"),
        (["--data", "shapes"], "--folds needs images in files"),
        (["--data.group", "^(.)"], "has 1 group(s) of images by --data.group"),
    ],
)
def test_refused(photos: Path, tmp_path: Path, more: list[str], said: str, capsys: Capture) -> None:
    assert main([*words(photos, tmp_path / "run"), *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
