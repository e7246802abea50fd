"""`vision_attn.fit`: the names of the command line, tables in memory, errors that speak Python."""

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vision_attn
from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.inference.trained_model import TrainedModel

TINY: dict[str, Any] = {
    "backbone": "resnet10t",
    "model": {"backbone_options": {"channels": [8, 8, 16, 16]}},
    "image_size": 32,
    "batch_size": 8,
    "epochs": 1,
    "report": False,
    "overlays": False,
}


def test_it_trains_the_same_weights_as_the_command(image_root: Path, tmp_path: Path) -> None:
    model = vision_attn.fit(image_root, run_dir=tmp_path / "python", seed=3, **TINY)
    words = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "command"), *TINY_RUN]
    assert main([*words, "--epochs", "1", "--seed", "3", "--overlays", "false"]) == 0
    weights = [tmp_path / run / "model.safetensors" for run in ("python", "command")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert isinstance(model, TrainedModel)
    assert model.folder.path == tmp_path / "python"
    assert not model.model.training


def test_a_time_limit_that_is_none(image_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^max_minutes -1 is not a time limit"):
        vision_attn.fit(image_root, run_dir=tmp_path / "run", max_minutes=-1, **TINY)
    assert not (tmp_path / "run").exists()


class TestTables:
    @pytest.fixture
    def rows(self, tmp_path: Path) -> dict[str, list[str]]:
        """Images of two folders, as columns."""
        paths, labels = [], []
        for color, name in enumerate(("red", "green")):
            write_images(tmp_path / name, 12, color)
            paths += [str(path) for path in sorted((tmp_path / name).iterdir())]
            labels += [f"a {name} one"] * 12
        return {"path": paths, "label": labels}

    def test_columns(self, rows: dict[str, list[str]], tmp_path: Path) -> None:
        model = vision_attn.fit(rows, run_dir=tmp_path / "run", **TINY)
        assert model.class_names == ["a green one", "a red one"]
        assert main(["test", str(tmp_path / "run")]) == 0

    def test_a_data_frame_with_splits(self, rows: dict[str, list[str]], tmp_path: Path) -> None:
        pandas = pytest.importorskip("pandas")
        splits = (["train"] * 8 + ["val"] * 2 + ["test"] * 2) * 2
        frame = pandas.DataFrame(rows | {"split": splits, "other": 1})
        vision_attn.fit(frame, run_dir=tmp_path / "run", **TINY)
        listed = list(csv.DictReader((tmp_path / "run" / "split.csv").read_text().splitlines()))
        assert [row["split"] for row in listed].count("test") == 4

    def test_relative_paths(
        self, rows: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        names = [os.path.relpath(path) for path in rows["path"]]
        vision_attn.fit(rows | {"path": names}, name="mine", **TINY)
        assert (tmp_path / "runs" / "mine" / "model.json").is_file()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"label": ["x"]}, "columns of the table differ in length"),
            ({"path": [], "label": []}, "the table has no rows"),
        ],
    )
    def test_mistakes_change_nothing(
        self, change: dict[str, list[str]], message: str, rows: dict[str, Any], tmp_path: Path
    ) -> None:
        with pytest.raises(vision_attn.UserError, match=message):
            vision_attn.fit(rows | change, run_dir=tmp_path / "run", **TINY)
        assert not (tmp_path / "run").exists()

    def test_a_refused_training_leaves_no_table(
        self, rows: dict[str, list[str]], tmp_path: Path
    ) -> None:
        missing = [f"{path}x" for path in rows["path"]]
        with pytest.raises(vision_attn.UserError):
            vision_attn.fit(rows | {"path": missing}, run_dir=tmp_path / "run", **TINY)
        assert not (tmp_path / "run").exists()

    def test_a_missing_column(self, rows: dict[str, list[str]], tmp_path: Path) -> None:
        with pytest.raises(vision_attn.UserError, match="no column 'label'"):
            vision_attn.fit({"path": rows["path"]}, run_dir=tmp_path / "run", **TINY)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"^name the images: data DIR"),
        ({"data": "nowhere"}, "^data: 'nowhere' is not a folder"),
        ({"data": "shapes", "backbone": "resnet81"}, "Did you mean 'resnet18'"),
        ({"data": "shapes", "epoch": 3}, "no option epoch. Did you mean 'epochs'"),
        ({"data": "shapes", "name": "a", "run_dir": "b"}, "name and run_dir both name"),
        ({"data": "shapes", "model": {"poling": "average"}}, "model.poling"),
        ({"data": "shapes", "init_from": "nowhere"}, "^init_from: there is no run"),
        ({"run_dir": "nowhere", "resume": True}, "^resume: .*nothing to resume from"),
    ],
)
def test_errors_name_arguments_not_options(
    settings: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(vision_attn.UserError, match=message) as raised:
        vision_attn.fit(**settings)
    assert "--" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_it_resumes(image_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    vision_attn.fit(image_root, run_dir=run, **TINY)
    vision_attn.fit(run_dir=run, resume=True, epochs=3, report=False, overlays=False)
    rows = list(csv.DictReader((run / "results.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(float(row["val/accuracy"]) >= 0 for row in rows)


class TestImagesInMemory:
    def test_arrays_and_pil_images_are_predicted_as_their_files(
        self, trained: tuple[Path, Path]
    ) -> None:
        model, path = vision_attn.load(trained[0]), trained[1] / "test" / "red" / "000.png"
        image = Image.open(path).convert("RGB")
        from_file, from_image, from_array = model.predict([path, image, np.asarray(image)])
        assert from_file.probabilities == from_image.probabilities == from_array.probabilities
        assert str(from_array.path) == "image-2"
        (one,) = model.predict(np.asarray(image))
        assert one.probabilities == pytest.approx(from_file.probabilities, abs=1e-6)
        batch = np.stack([np.asarray(image)] * 3)
        assert [found.class_name for found in model.predict(batch)] == ["red"] * 3

    def test_explanations_draw_the_image(self, trained: tuple[Path, Path]) -> None:
        model = vision_attn.load(trained[0])
        array = np.asarray(Image.open(trained[1] / "test" / "red" / "000.png"))
        (found,) = model.explain(array, explainers=["evidence"])
        assert found._repr_png_().startswith(b"\x89PNG")
        evidence = found.heatmaps["evidence"]
        assert evidence.error < 1e-4
        assert float(evidence.values.sum()) + found.bias == pytest.approx(found.logit, abs=1e-4)

    @pytest.mark.parametrize(
        "array",
        [np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)],
    )
    def test_other_arrays_are_refused(self, array: np.ndarray, trained: tuple[Path, Path]) -> None:
        with pytest.raises(vision_attn.UserError, match="image-1: an array must be uint8"):
            vision_attn.load(trained[0]).predict(array)

    def test_a_model_in_training_mode_is_used_in_eval_mode(
        self, trained: tuple[Path, Path]
    ) -> None:
        model = vision_attn.load(trained[0])
        before = model.predict(trained[1] / "test")
        model.model.train()
        after = model.predict(trained[1] / "test")
        assert len(before) == 8
        assert [one.probabilities for one in before] == [one.probabilities for one in after]
