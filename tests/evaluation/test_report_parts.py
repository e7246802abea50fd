"""The parts of the report: predictions, advice, matrix, curves, map quality, acceptance."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import write_images
from tests.evaluation.html_page import Page
from vision_attn.cli.main import main
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.sources.image_folder import ImageFolder
from vision_attn.data.split import Split
from vision_attn.evaluation.benchmark import Summary
from vision_attn.evaluation.report.advice import advice
from vision_attn.evaluation.report.confusion_matrix import Pair, confusion_matrix
from vision_attn.evaluation.report.curves import Curves, read_curves
from vision_attn.evaluation.report.examples import most_confident_correct, most_confident_mistakes
from vision_attn.evaluation.report.intervals import wilson
from vision_attn.evaluation.report.map_quality import newest_evaluation
from vision_attn.evaluation.report.map_verdict import loses_to, verdict
from vision_attn.evaluation.report.plots import calibration_plot, curves_plot
from vision_attn.evaluation.report.predictions import SplitPredictions
from vision_attn.evaluation.report.selective import acceptances, coverage_curve
from vision_attn.evaluation.report.split_summary import split_summary
from vision_attn.runs.folder import RunFolder


def predictions_of(targets: list[int], logits: torch.Tensor, names: list[str]) -> SplitPredictions:
    """Predictions with given logits, for images that are never read."""
    split = Split(
        [f"{k}.png" for k in range(len(targets))],
        [names[t] for t in targets],
        lambda index, size: torch.zeros(3, size, size, dtype=torch.uint8),
    )
    indices = torch.arange(len(targets))
    return SplitPredictions(
        "test", split, names, indices, torch.tensor(targets), logits, logits.softmax(1)
    )


class TestSplitPredictions:
    """True classes 0 0 1 1 are predicted as 0 1 1 1; a third class has no images."""

    predictions = predictions_of(
        [0, 0, 1, 1],
        torch.tensor([[3.0, 0, 0], [0, 2.0, 0], [0, 3.0, 0], [0, 1.0, 0]]),
        ["ant", "bee", "cat"],
    )

    def test_by_class(self) -> None:
        ant, bee, cat = self.predictions.by_class()
        assert (ant.images, ant.predicted, ant.precision, ant.recall) == (2, 1, 1, 0.5)
        assert (bee.images, bee.predicted, bee.recall) == (2, 3, 1)
        assert bee.precision == pytest.approx(2 / 3)
        assert bee.f1 == pytest.approx(4 / 5)
        assert (cat.images, cat.predicted, cat.precision, cat.recall) == (0, 0, None, None)

    def test_confusion(self) -> None:
        assert self.predictions.confusion().tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]

    def test_bins_agree_with_the_calibration_error(self) -> None:
        logits, targets = 2 * torch.randn(97, 5), torch.randint(5, (97,)).tolist()
        predictions = predictions_of(targets, logits, list("abcde"))
        bins = predictions.calibration()
        assert sum(b.images for b in bins) == 97
        error = sum(b.images * abs(b.confidence - b.accuracy) for b in bins) / 97
        assert error == pytest.approx(predictions.scores()["calibration_error"], abs=1e-5)

    def test_examples(self) -> None:
        assert most_confident_mistakes(self.predictions) == [1]
        # The most confident of each class.
        assert most_confident_correct(self.predictions) == [0, 2]
        many = predictions_of([0] * 9, torch.tensor([[0.0, 1.0]] * 9), ["ant", "bee"])
        assert len(most_confident_mistakes(many)) == 2  # at most 2 per pair of classes


class TestAdvice:
    def test_warnings(self) -> None:
        curves = Curves({"train/accuracy": {1: 0.5, 2: 0.99}, "val/accuracy": {1: 0.4, 2: 0.6}})
        train = Counter({"ant": 50, "bee": 2, "cat": 9})
        text = " ".join(advice(TestSplitPredictions.predictions, curves, train))
        assert "Training accuracy 99\xa0%, validation 60\xa0% (overfitting)" in text
        assert "pretrained weights (--pretrained true)" in text
        known = " ".join(advice(TestSplitPredictions.predictions, curves, train, pretrained=True))
        assert "pretrained" not in known
        assert "50 training images of ant and 2 of bee" in text
        assert "No test images of cat" in text
        assert "Only 4 test images" in text
        assert "Never predicted" not in text  # cat has no images

    def test_never_predicted(self) -> None:
        predictions = predictions_of([0, 1], torch.tensor([[2.0, 0], [2.0, 0]]), ["ant", "bee"])
        assert "Never predicted: bee." in " ".join(advice(predictions, Curves({}), Counter()))

    def test_no_warnings_without_problems(self) -> None:
        targets = [k % 2 for k in range(400)]
        logits = 9 * torch.nn.functional.one_hot(torch.tensor(targets), 2).float()
        predictions = predictions_of(targets, logits, ["ant", "bee"])
        curves = Curves({"train/accuracy": {1: 1.0}, "val/accuracy": {1: 1.0}})
        assert advice(predictions, curves, Counter(ant=100, bee=90)) == []


class TestConfusionMatrix:
    def test_few_classes_are_a_table(self) -> None:
        matrix = confusion_matrix(torch.tensor([[8, 2], [1, 3]]), ["ant", "bee"])
        assert [[cell.images for cell in row] for row in matrix.rows] == [[8, 2], [1, 3]]
        assert matrix.rows[1][0].share == 0.25
        assert matrix.pairs == [Pair("ant", "bee", mistakes=3, images=14)]

    @pytest.mark.parametrize("classes", [21, 200])
    def test_many_classes_are_a_picture(self, classes: int) -> None:
        counts = 5 * torch.eye(classes, dtype=torch.long)
        counts[3, 7] = 15
        names = [f"class {k}" for k in range(classes)]
        few = confusion_matrix(counts, names)
        assert few.names == ["class 3", "class 7"]
        assert [[cell.images for cell in row] for row in few.rows] == [[5, 15], [0, 5]]
        matrix = confusion_matrix(counts, names, errors_only=False)
        pixels = decode(matrix.picture)
        assert pixels.shape == (classes, classes, 4)
        assert pixels[3, 7, 3] == int(np.sqrt(0.75) * 255)
        assert pixels[5, 5, 3] == 255
        assert pixels[5, 6, 3] == 0
        assert matrix.pairs == [Pair("class 3", "class 7", 15, 25)]

    def test_of_very_many_classes_those_with_most_mistakes_are_shown(self) -> None:
        counts = 5 * torch.eye(300, dtype=torch.long)
        counts[299, 7] = 15
        matrix = confusion_matrix(counts, [f"class {k}" for k in range(300)], errors_only=False)
        assert len(matrix.names) == 200
        assert "class 299" in matrix.names


def decode(source: str) -> np.ndarray:
    """The pixels of a data URI."""
    import base64
    import io

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))


class TestCurves:
    HEAD = "epoch,step,train/accuracy,train/loss,val/accuracy,val/loss\n"

    def test_epochs_of_a_resumed_run(self, tmp_path: Path) -> None:
        """A second log continues the first; the final validation of each is not an epoch."""
        for version, rows in (
            (0, "0,9,,,0.5,1.0\n0,9,0.4,2.0,,\n1,19,,,0.6,1.0\n1,19,0.5,1.5,,\n2,20,,,0.6,1\n"),
            (1, "2,29,,,0.4,1.0\n2,29,0.6,1.2,,\n3,30,,,0.6,1.0\n"),
        ):
            folder = tmp_path / f"version_{version}"
            folder.mkdir()
            (folder / "metrics.csv").write_text(self.HEAD + rows)
        curves = read_curves(tmp_path)
        assert curves.epochs == 3
        assert curves.values["train/loss"] == {1: 2.0, 2: 1.5, 3: 1.2}
        assert curves.values["val/accuracy"] == {1: 0.5, 2: 0.6, 3: 0.4}
        assert curves.best == 2

    def test_plots_use_the_colors_of_the_page(self) -> None:
        one = Curves({"train/loss": {1: 2.0}, "train/accuracy": {1: 0.5}})
        names = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
        many = Curves({name: {1: 0.2, 2: 0.3} for name in names})
        predictions = TestSplitPredictions.predictions
        for text in (
            curves_plot(one),
            curves_plot(many),
            calibration_plot(predictions.calibration()),
        ):
            assert "var(--ink)" in text
            assert "var(--accent)" in text or "var(--second)" in text
            assert "#0102" not in text
            Page(text)


class TestMapQuality:
    def test_the_newest_evaluation_is_used_unless_the_weights_are_newer(
        self, trained: tuple[Path, Path], tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        shutil.copytree(trained[0], run)
        assert newest_evaluation(RunFolder(run)) is None
        command = ["evaluate", str(run), "--explainers", "random,evidence", "--metrics", "deletion"]
        assert main(command) == 0
        map_quality = newest_evaluation(RunFolder(run))
        assert map_quality is not None
        assert map_quality.higher_is_better == {"deletion": False}
        assert set(map_quality.scores) == {"random", "center", "evidence"}
        (path,) = run.glob("evaluations/*/evaluation.json")
        later = path.stat().st_mtime + 1
        os.utime(run / "model.safetensors", (later, later))
        assert newest_evaluation(RunFolder(run)) is None

    def test_an_evaluation_that_was_stopped_is_not_used(
        self, trained: tuple[Path, Path], tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        shutil.copytree(trained[0], run)
        scores = {"deletion": {"images": 8, "mean": 0.5, "median": 0.5, "quartiles": [0.4, 0.6]}}
        now = (run / "model.safetensors").stat().st_mtime
        for day, (name, complete) in enumerate((("evidence", True), ("random", False)), 1):
            content = {
                "complete": complete,
                "images": {"seen": 8, "correct": 8},
                "higher_is_better": {"deletion": False},
                "explainers": {name: {"scores": scores}},
            }
            path = run / "evaluations" / str(day) / "evaluation.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(content))
            os.utime(path, (now + day, now + day))
        found = newest_evaluation(RunFolder(run))
        assert found is not None
        assert set(found.scores) == {"evidence"}

    def test_a_quick_measurement_without_an_evaluation(self, trained: tuple[Path, Path]) -> None:
        text = Page((trained[0] / "report.html").read_text("utf-8")).text
        assert "A quick measurement on up to 8 images" in text
        assert "insertion higher is better" in text
        assert "mean probability of the class while the hottest pixels are added" in text
        assert "how often the hottest place" not in text  # the pointing game was not measured


class TestAcceptance:
    def test_like_counting_one_by_one(self) -> None:
        generator = torch.Generator().manual_seed(0)
        confidence = torch.rand(97, generator=generator)
        correct = torch.rand(97, generator=generator) < confidence
        rows = {row.threshold: row for row in acceptances(confidence, correct)}
        for threshold, row in rows.items():
            chosen = [k for k in range(97) if float(confidence[k]) >= threshold]
            assert row.answered == len(chosen)
            assert row.correct == sum(bool(correct[k]) for k in chosen)
            assert row.interval == wilson(row.correct, row.answered)
        assert rows[0.0].coverage == 1
        coverage, accuracy = coverage_curve(confidence, correct)
        assert (coverage[-1], accuracy[-1]) == (1, rows[0.0].accuracy)


class TestVerdict:
    def test_maps_that_lose_to_the_center_are_named(self) -> None:
        def of(energy: float, deletion: float) -> dict[str, Summary]:
            means = {"energy": energy, "deletion": deletion}
            return {
                name: Summary(images=9, mean=mean, median=mean, quartiles=[mean, mean])
                for name, mean in means.items()
            }

        better = {"energy": True, "deletion": False}
        scores = {"random": of(0.2, 0.5), "center": of(0.4, 0.4), "evidence": of(0.3, 0.1)}
        assert loses_to(scores, "evidence", "energy", True) == ["center"]
        assert loses_to(scores, "evidence", "deletion", False) == []
        assert verdict(scores, better) == (
            "Partly: the evidence maps beat random and center in 1 of 2 scores, but not in "
            "energy (center)."
        )
        assert verdict(scores | {"evidence": of(0.5, 0.1)}, better).startswith("Yes")
        assert verdict(scores | {"evidence": of(0.1, 0.6)}, better).startswith("No:")


def test_near_duplicates_across_the_split_are_named(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("test", 4)):
        for color, name in enumerate(("ant", "bee")):
            write_images(tmp_path / split / name, count, color)
    shutil.copy(tmp_path / "train/ant/000.png", tmp_path / "test/ant/zzz.png")
    data = ImageDataModule(ImageFolder(str(tmp_path)), image_size=32)
    found = split_summary(data, "test")
    assert ("ant/zzz.png", "ant/000.png") in found.pairs
    assert found.images >= 1
    assert "split of its own" in found.made
