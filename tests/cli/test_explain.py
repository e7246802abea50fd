"""`vision-attn test`, `validate` and `explain` on a trained run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.inference.explanation import Explanation
from vision_attn.inference.trained_model import load


def green(sheet: np.ndarray) -> int:
    """How many pixels of a sheet have the color of outlines."""
    return int((abs(sheet.astype(int) - (0x3D, 0xFF, 0x5C)).max(2) < 12).sum())


class TestScoring:
    def test_on_the_runs_own_images(
        self, trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["test", str(trained[0])]) == 0
        assert "test/accuracy 1.0000" in capsys.readouterr().out
        assert main(["validate", str(trained[0])]) == 0
        assert "val/accuracy" in capsys.readouterr().out

    def test_labels_of_other_images_are_mapped_by_name(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Only the second class of the model: by index it would be mistaken for the first."""
        write_images(tmp_path / "red", 5, 0, size=(25, 21))  # not those that were trained on
        assert main(["test", str(trained[0]), "--data", str(tmp_path)]) == 0
        output = capsys.readouterr().out
        assert "test images 5" in output
        assert "test/accuracy 1.0000" in output

    def test_it_refuses_an_unknown_class(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_images(tmp_path / "blue", 5, 2)
        assert main(["test", str(trained[0]), "--data", str(tmp_path)]) == 2
        assert "class 'blue'" in capsys.readouterr().err


class TestExplain:
    def test_a_folder(self, trained: tuple[Path, Path], tmp_path: Path) -> None:
        run, images = trained
        out = tmp_path / "out"
        assert main(["explain", str(run), str(images / "test"), "--out", str(out)]) == 0
        manifest = json.loads((out / "manifest.json").read_text())
        assert len(manifest["images"]) == 8
        assert len({entry["sheet"] for entry in manifest["images"]}) == 8
        for entry in manifest["images"]:
            sheet = np.asarray(Image.open(out / entry["sheet"]).convert("RGB"))
            assert sheet.std() > 20  # not blank
            assert list(entry["maps"]) == [
                "attention", "evidence", "contrast", "grad_cam",
            ]  # fmt: skip
            assert entry["label"]["name"] == Path(entry["file"]).parent.name
            assert entry["label"]["source"].startswith("the run's split.csv (test")
            evidence = np.load(out / entry["maps"]["evidence"]["file"])
            assert list(evidence.shape) == entry["maps"]["evidence"]["shape"]
            total = evidence.astype(np.float64).sum() + entry["bias"]
            assert total == pytest.approx(entry["logit"], rel=1e-4, abs=1e-4)
            assert max(entry["predictions"], key=entry["predictions"].get) == entry["target"]

    def test_an_unreadable_file_is_reported_and_the_others_are_explained(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run, images = trained
        bad = tmp_path / "bad.png"
        bad.write_text("not an image")
        good = images / "test" / "red" / "000.png"
        words = ["explain", str(run), str(bad), str(good), str(tmp_path / "none.jpg")]
        out = tmp_path / "out"
        assert main([*words, "--out", str(out), "--explainers", "evidence"]) == 1
        output = capsys.readouterr().err
        assert "bad.png is not an image" in output
        assert "none.jpg" in output
        assert [path.name for path in out.glob("*.png")] == ["000.png"]

    def test_file_names_with_dollar_signs(self, trained: tuple[Path, Path], tmp_path: Path) -> None:
        odd = tmp_path / "a_$5_$6_.png"
        shutil.copy(trained[1] / "test" / "red" / "000.png", odd)
        words = ["explain", str(trained[0]), str(odd), "--out", str(tmp_path / "out")]
        assert main([*words, "--explainers", "evidence"]) == 0

    def test_the_strongest_cells_are_verified(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run, images = trained
        first = str(next((images / "test").rglob("*.png")))
        assert main(["explain", str(run), first, "--verify", "--out", str(tmp_path / "out")]) == 0
        assert "verified   strongest cells of 4x4 deleted, 3 in all" in capsys.readouterr().out
        (entry,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["images"]
        said = [abs(cell["said"]) for cell in entry["verified"]]
        assert said == sorted(said, reverse=True)
        assert len(said) == 3

    def test_a_chosen_target(self, trained: tuple[Path, Path], tmp_path: Path) -> None:
        run, images = trained
        words = ["explain", str(run), str(images / "test" / "red"), "--explainers", "attention"]
        assert main([*words, "--target", "green", "--out", str(tmp_path / "out")]) == 0
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        assert {entry["target"] for entry in manifest["images"]} == {"green"}

    def test_classes_heads_and_against(self, trained: tuple[Path, Path], tmp_path: Path) -> None:
        run, images = trained
        words = ["explain", str(run), str(images / "test" / "red" / "000.png")]
        words += ["--explainers", "attention,evidence,contrast", "--classes", "2", "--heads"]
        words += ["--cells", "--target", "red", "--against", "green"]
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
        (entry,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["images"]
        maps = {kind: np.load(tmp_path / "out" / m["file"]) for kind, m in entry["maps"].items()}
        assert [kind for kind in maps if kind.startswith("head")] == [
            f"head.{k}" for k in range(1, 9)
        ]
        np.testing.assert_allclose(
            np.mean([maps[f"head.{k}"] for k in range(1, 9)], axis=0), maps["attention"], rtol=1e-5
        )
        assert "attention.1" not in maps  # the same for every class
        (other,) = [kind for kind in maps if kind.startswith("evidence.")]  # red is the target
        assert entry["maps"][other]["target"] == "green"
        np.testing.assert_allclose(
            maps["contrast"], maps["evidence"] - maps[other], rtol=1e-4, atol=1e-5
        )

    def test_outlines_windows_and_expected_sums(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Images of 24 x 20 pixels; one of two has a box, in the nearest boxes.csv above it."""
        run, images = trained
        shutil.copytree(images / "test", tmp_path / "images" / "test")
        (tmp_path / "images" / "boxes.csv").write_text(
            "file,label,xmin,ymin,xmax,ymax\ntest/red/000.png,red,6,5,17,14\n"
        )
        files = [str(tmp_path / "images" / "test" / "red" / f"00{k}.png") for k in (0, 1)]
        words = ["explain", str(run), *files, "--windows", "--explainers", "attention,deep_lift"]
        out = tmp_path / "out"
        assert main([*words, "--out", str(out)]) == 0
        output = capsys.readouterr().out
        assert "objects    known in 1 of 2 images" in output
        first, second = (np.asarray(Image.open(out / f"00{k}.png").convert("RGB")) for k in (0, 1))
        assert green(first) > 200
        assert green(second) < 20
        entry, other = json.loads((out / "manifest.json").read_text())["images"]
        assert entry["maps"]["attention"]["expected_sum"] == 1
        assert entry["maps"]["attention"]["completeness_error"] < 1e-6
        deep_lift = [image["maps"]["deep_lift"] for image in (entry, other)]
        for lift in deep_lift:
            error = abs(lift["sum"] - lift["expected_sum"]) / abs(lift["expected_sum"])
            assert lift["completeness_error"] == pytest.approx(error, rel=1e-5)
        large = sum(lift["completeness_error"] > 0.05 for lift in deep_lift)
        assert (f"deep_lift: {large} of 2 maps are more than 5 % off" in output) == (large > 0)
        windows = entry["windows"]  # on 4 x 4 places of 6 x 5 pixels; 0 is the center of the first
        assert [window["heads"] for window in windows] == [[5], [6], [7], [8]]
        for window in windows:
            assert 3 <= window["center"][0] <= 21
            assert 2.5 <= window["center"][1] <= 17.5
            assert window["reach"] == pytest.approx(
                [2 * side for side in window["sigma"]], abs=0.02
            )

    def test_a_folder_of_masks(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run, images = trained
        masks = tmp_path / "masks" / "red"
        masks.mkdir(parents=True)
        mask = Image.new("L", (24, 20))
        mask.paste(255, (4, 4, 20, 16))
        mask.save(masks / "000.png")
        words = ["explain", str(run), str(images / "test"), "--explainers", "attention"]
        words += ["--truth", str(tmp_path / "masks")]
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
        assert "objects    known in 1 of 8 images" in capsys.readouterr().out
        (masks / "000.png").rename(masks / "another.png")
        assert main([*words, "--out", str(tmp_path / "again")]) == 1
        assert "has no object for any image" in capsys.readouterr().err

    def test_photographs_are_refused_as_masks_before_anything_is_written(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run, images = trained
        photos = tmp_path / "photos" / "red"
        photos.mkdir(parents=True)
        ramp = Image.linear_gradient("L").resize((24, 20)).convert("RGB")
        ramp.save(photos / "001.png")  # of the second of eight images
        words = ["explain", str(run), str(images / "test"), "--out", str(tmp_path / "out")]
        assert main([*words, "--truth", str(tmp_path / "photos")]) == 2
        said = capsys.readouterr().err
        assert "001.png is not a mask but a picture with many shades of gray" in said
        assert len(said.splitlines()) == 1
        assert not (tmp_path / "out").exists()

    def test_labels_of_a_list_of_boxes_and_names_of_heads(
        self, trained: tuple[Path, Path], tmp_path: Path
    ) -> None:
        run, images = trained
        for name in ("a.png", "b.png"):
            shutil.copy(images / "test" / "red" / "000.png", tmp_path / name)
        boxes = tmp_path / "labels.csv"
        boxes.write_text("file,label,xmin,ymin,xmax,ymax\na.png,green,6,5,17,14\n")
        (one,) = load(run).explain(tmp_path / "a.png", "evidence", heads=True)
        assert one.label is None  # its folder is no class
        kinds = ["global"] * 4 + ["window"] * 4
        assert one.head_names == [f"{kind} {k}" for k, kind in enumerate(kinds, 1)]
        assert [m.name for m in one.heatmaps.values()][1:] == one.head_names
        out = tmp_path / "out"
        words = ["explain", str(run), str(tmp_path / "a.png"), str(tmp_path / "b.png")]
        words += ["--truth", str(boxes), "--explainers", "evidence", "--out", str(out)]
        assert main(words) == 0
        labels = [e["label"] for e in json.loads((out / "manifest.json").read_text())["images"]]
        assert labels[0] == {"name": "green", "source": "labels.csv"}
        assert labels[1]["name"] == "red"
        assert labels[1]["source"].startswith("the run's split.csv (test")  # by its content

    def test_a_shared_scale_is_that_of_the_strongest_image(
        self, trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run, images = trained
        used = []
        monkeypatch.setattr(
            Explanation, "save", lambda self, path, cells, masks, scales: used.append(scales)
        )
        words = ["explain", str(run), str(images / "test"), "--explainers", "evidence"]
        assert main([*words, "--scale", "shared", "--out", str(tmp_path / "out")]) == 0
        maps = [np.load(file) for file in (tmp_path / "out" / "maps").glob("*.npy")]
        strongest = max(float(abs(values).max()) for values in maps)
        assert used == [{"evidence": pytest.approx(strongest, rel=1e-5)}] * 8
        used.clear()
        assert main([*words, "--out", str(tmp_path / "own")]) == 0
        assert used == [None] * 8

    def test_it_refuses_windows_of_a_pooling_without_them(
        self, image_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "run"), *TINY_RUN]
        words += ["--trainer.max_epochs", "1", "--model.pooling", "average"]
        assert main(words) == 0
        assert main(["explain", str(tmp_path / "run"), str(image_root), "--windows"]) == 2
        assert "--windows: average looks at the whole image" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--truth", "nowhere.csv"], "--truth: there is no file or folder nowhere.csv"),
            (["--target", "gren"], "Did you mean 'green'"),
            (["--explainers", "gradcam"], "Did you mean 'grad_cam'"),
            (["--batch_size", "0"], "--batch_size must be at least 1"),
            (["--against", "predicted"], "--against: the model has no class 'predicted'"),
            (["--classes", "-3"], "--classes must be at least 0, not -3"),
            (["--against", "gren"], "--against: the model has no class 'gren'"),
            (
                ["--against", "green", "--explainers", "evidence"],
                "--against needs contrast among the explainers",
            ),
        ],
    )
    def test_it_refuses_what_does_not_exist(
        self, words: list[str], message: str, trained: tuple[Path, Path],
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        run, images = trained
        assert main(["explain", str(run), str(images), *words]) == 2
        assert message in capsys.readouterr().err

    def test_it_never_overwrites_files(
        self, trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        run, images = trained
        assert main(["explain", str(run), str(images), "--out", str(images)]) == 2
        assert "is not empty" in capsys.readouterr().err
