"""The page on a run: what it tells is so, it is whole by itself, and it trusts no name."""

import json
import os
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.data.split import Split
from vision_attn.evaluation.report.advice import advice
from vision_attn.evaluation.report.confusion_matrix import matrix_of
from vision_attn.evaluation.report.curves import Curves, read_curves
from vision_attn.evaluation.report.examples import most_confident_correct, most_confident_mistakes
from vision_attn.evaluation.report.map_quality import evaluated
from vision_attn.evaluation.report.plots import calibration_plot, curves_plot
from vision_attn.evaluation.report.predictions import SplitPredictions
from vision_attn.runs.folder import RunFolder

VOID = {"meta", "img"}
POINTERS = ("src", "srcset", "href", "xlink:href", "action", "data", "poster")


class Page(HTMLParser):
    """Elements, texts and pictures of a page; every element must be closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.images: list[dict[str, str | None]] = []
        self.ids: list[str | None] = []
        self.pointers: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.pointers += [found[name] or "" for name in POINTERS if name in found]
        assert not any(name.startswith("on") for name in found)
        if tag == "img":
            self.images.append(found)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def outcome_of(targets: list[int], logits: torch.Tensor, names: list[str]) -> SplitPredictions:
    """What a model said of images that nobody reads."""
    split = Split(
        [f"{k}.png" for k in range(len(targets))],
        [names[t] for t in targets],
        lambda index, size: torch.zeros(3, size, size, dtype=torch.uint8),
    )
    places = torch.arange(len(targets))
    return SplitPredictions(
        "test", split, names, places, torch.tensor(targets), logits, logits.softmax(1)
    )


class TestPage:
    def test_fit_leaves_one(self, trained: tuple[Path, Path]) -> None:
        text = (trained[0] / "report.html").read_text(encoding="utf-8")
        page = Page(text)
        assert "8 of 8 test images are right" in page.text
        assert page.tags["h1"] == 1
        assert page.tags["th"] > 10
        assert all(image["alt"] and image["src"] for image in page.images)
        assert len(page.images) >= 4  # the surest of both classes, each with its evidence
        assert "chosen automatically" in page.text
        assert "Only 8 test images" in page.text
        assert len(page.ids) == len(set(page.ids))

    def test_it_is_whole_by_itself(self, trained: tuple[Path, Path]) -> None:
        text = (trained[0] / "report.html").read_text(encoding="utf-8")
        pointers = Page(text).pointers
        assert len(pointers) > 4
        assert {pointer[:5] for pointer in pointers if not pointer.startswith("#")} == {"data:"}
        assert re.findall(r"url\((?!#)|@import", text) == []
        assert "<script" not in text
        assert "default-src 'none'" in text
        assert "@media print" in text
        assert "prefers-color-scheme: dark" in text
        assert len(text) < 3_000_000
        assert str(trained[1].parent) not in text  # no folder of who sends it
        assert "images" in Page(text).text

    def test_made_again(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "deep" / "page.html"
        before = (trained[0] / "report.html").read_bytes()
        assert main(["report", str(trained[0]), "--out", str(out)]) == 0
        assert f"report    {out}" in capsys.readouterr().out
        assert (trained[0] / "report.html").read_bytes() == before
        again, first = (Page(p.read_text("utf-8")).text for p in (out, trained[0] / "report.html"))
        for text in ("8 of 8 test images are right", "chosen automatically", "AUROC 1.000"):
            assert text in first
            assert text in again

    def test_names_are_text(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Class and file names that would be code, were they not escaped."""
        names = ("<script>alert(1)<", "a\" onload='x' &amp; $b$", "{{ 7 * 7 }}")
        for color, name in enumerate(names):
            write_images(tmp_path / "images" / name, 10, color)
            (tmp_path / "images" / name / "000.png").rename(
                tmp_path / "images" / name / "<img src=x onerror=alert(2)>.png"
            )
        run = tmp_path / "<b>run"
        words = ["fit", "--data", str(tmp_path / "images"), "--run_dir", str(run), *TINY_RUN]
        assert main([*words, "--trainer.max_epochs", "1", "--report", "true"]) == 0
        assert "report    " in capsys.readouterr().out
        text = (run / "report.html").read_text(encoding="utf-8")
        page = Page(text)
        assert page.tags["script"] == 0
        assert "<script" not in text
        assert "<img src=x" not in text
        for name in names:
            assert name in page.text

    def test_left_out(self, image_root: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
        assert main([*words, "--trainer.max_epochs", "1", "--report", "false"]) == 0
        assert (run / "metrics.json").exists()
        assert not (run / "report.html").exists()

    def test_a_failure_to_draw_loses_nothing(
        self, image_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        def broken(*_: object) -> str:
            raise RuntimeError("no ink")

        monkeypatch.setattr("vision_attn.evaluation.report.page.predict_split", broken)
        run = tmp_path / "run"
        words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
        assert main([*words, "--trainer.max_epochs", "1", "--report", "true"]) == 0
        told = capsys.readouterr()
        assert "no report: no ink" in told.err
        assert "look      vision-attn explain" in told.out
        assert (run / "metrics.json").exists()
        assert [path.name for path in run.glob("*report*")] == []

    def test_errors_in_a_line(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["report", str(tmp_path)]) == 2
        assert "holds no model" in capsys.readouterr().err
        assert main(["report", str(trained[0]), "--out", str(tmp_path)]) == 2
        assert "is a folder; name a file" in capsys.readouterr().err

    def test_metrics_beyond_accuracy(self, trained: tuple[Path, Path]) -> None:
        metrics = json.loads((trained[0] / "metrics.json").read_text())
        for name in ("test/macro_f1", "test/auroc", "val/macro_f1", "val/auroc"):
            assert metrics[name] == 1
        assert 0 <= metrics["test/calibration_error"] < 1


class TestOutcome:
    """Of 0 0 1 1 told as 0 1 1 1; a third class has no images."""

    predictions = outcome_of(
        [0, 0, 1, 1],
        torch.tensor([[3.0, 0, 0], [0, 2.0, 0], [0, 3.0, 0], [0, 1.0, 0]]),
        ["ant", "bee", "cat"],
    )

    def test_by_class(self) -> None:
        ant, bee, cat = self.predictions.by_class()
        assert (ant.images, ant.told, ant.precision, ant.recall) == (2, 1, 1, 0.5)
        assert (bee.images, bee.told, bee.recall) == (2, 3, 1)
        assert bee.precision == pytest.approx(2 / 3)
        assert bee.f1 == pytest.approx(4 / 5)
        assert (cat.images, cat.told, cat.precision, cat.recall) == (0, 0, None, None)

    def test_confusion(self) -> None:
        assert self.predictions.confusion().tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]

    def test_bins_hold_the_calibration_error(self) -> None:
        logits, targets = 2 * torch.randn(97, 5), torch.randint(5, (97,)).tolist()
        predictions = outcome_of(targets, logits, list("abcde"))
        bins = predictions.calibration()
        assert sum(b.images for b in bins) == 97
        error = sum(b.images * abs(b.confidence - b.accuracy) for b in bins) / 97
        assert error == pytest.approx(predictions.scores()["calibration_error"], abs=1e-5)

    def test_examples(self) -> None:
        assert most_confident_mistakes(self.predictions) == [1]
        assert most_confident_correct(self.predictions) == [0, 2]  # the surest of each class
        many = outcome_of([0] * 9, torch.tensor([[0.0, 1.0]] * 9), ["ant", "bee"])
        assert len(most_confident_mistakes(many)) == 2  # few of a kind


class TestAdvice:
    def test_what_is_worth_telling(self) -> None:
        curves = Curves({"train/accuracy": {1: 0.5, 2: 0.99}, "val/accuracy": {1: 0.4, 2: 0.6}})
        told = " ".join(
            advice(TestOutcome.predictions, curves, Counter({"ant": 50, "bee": 2, "cat": 9}))
        )
        assert "Overfitted: 99% of the training images are right and 60%" in told
        assert "50 training images of ant and 2 of bee" in told
        assert "No test images of cat" in told
        assert "Only 4 test images" in told
        assert "Never predicted" not in told  # cat has no images

    def test_never_predicted(self) -> None:
        predictions = outcome_of([0, 1], torch.tensor([[2.0, 0], [2.0, 0]]), ["ant", "bee"])
        assert "Never predicted: bee." in " ".join(advice(predictions, Curves({}), Counter()))

    def test_nothing_to_tell(self) -> None:
        targets = [k % 2 for k in range(400)]
        logits = 9 * torch.nn.functional.one_hot(torch.tensor(targets), 2).float()
        predictions = outcome_of(targets, logits, ["ant", "bee"])
        curves = Curves({"train/accuracy": {1: 1.0}, "val/accuracy": {1: 1.0}})
        assert advice(predictions, curves, Counter(ant=100, bee=90)) == []


class TestMatrix:
    def test_few_classes_are_numbers(self) -> None:
        matrix = matrix_of(torch.tensor([[8, 2], [1, 3]]), ["ant", "bee"])
        assert [[cell.images for cell in row] for row in matrix.rows] == [[8, 2], [1, 3]]
        assert matrix.rows[1][0].share == 0.25
        assert [(p.truth, p.told, p.images) for p in matrix.pairs] == [
            ("ant", "bee", 2), ("bee", "ant", 1),
        ]  # fmt: skip

    @pytest.mark.parametrize("classes", [21, 200])
    def test_many_are_a_picture(self, classes: int) -> None:
        counts = 5 * torch.eye(classes, dtype=torch.long)
        counts[3, 7] = 15
        matrix = matrix_of(counts, [f"class {k}" for k in range(classes)])
        pixels = decoded(matrix.picture)
        assert pixels.shape == (classes, classes, 4)
        assert pixels[3, 7, 3] == int(np.sqrt(0.75) * 255)
        assert pixels[5, 5, 3] == 255
        assert pixels[5, 6, 3] == 0
        assert matrix.pairs[0].share == 0.75

    def test_of_very_many_those_with_mistakes(self) -> None:
        counts = 5 * torch.eye(300, dtype=torch.long)
        counts[299, 7] = 15
        matrix = matrix_of(counts, [f"class {k}" for k in range(300)])
        assert len(matrix.names) == 200
        assert "class 299" in matrix.names


def decoded(source: str) -> np.ndarray:
    """The pixels of a data URI."""
    import base64
    import io

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))


class TestCurves:
    HEAD = "epoch,step,train/accuracy,train/loss,val/accuracy,val/loss\n"

    def test_epochs_of_a_resumed_run(self, tmp_path: Path) -> None:
        """A second log goes on; the last validation of each is no epoch."""
        for version, rows in (
            (0, "0,9,,,0.5,1.0\n0,9,0.4,2.0,,\n1,19,,,0.6,1.0\n1,19,0.5,1.5,,\n2,20,,,0.6,1\n"),
            (1, "2,29,,,0.4,1.0\n2,29,0.6,1.2,,\n3,30,,,0.6,1.0\n"),
        ):
            place = tmp_path / f"version_{version}"
            place.mkdir()
            (place / "metrics.csv").write_text(self.HEAD + rows)
        curves = read_curves(tmp_path)
        assert curves.epochs == 3
        assert curves.values["train/loss"] == {1: 2.0, 2: 1.5, 3: 1.2}
        assert curves.values["val/accuracy"] == {1: 0.5, 2: 0.6, 3: 0.4}
        assert curves.best == 2

    def test_plots_take_the_colours_of_the_page(self) -> None:
        one = Curves({"train/loss": {1: 2.0}, "train/accuracy": {1: 0.5}})
        names = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
        many = Curves({name: {1: 0.2, 2: 0.3} for name in names})
        predictions = TestOutcome.predictions
        for text in (
            curves_plot(one),
            curves_plot(many),
            calibration_plot(predictions.calibration()),
        ):
            assert "var(--ink)" in text
            assert "var(--accent)" in text or "var(--second)" in text
            assert "#0102" not in text
            Page(text)


class TestBelief:
    def test_the_newest_evaluation_counts_unless_it_is_of_older_weights(
        self, trained: tuple[Path, Path], tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        shutil.copytree(trained[0], run)
        assert evaluated(RunFolder(run)) is None
        words = ["evaluate", str(run), "--explainers", "random,evidence", "--metrics", "deletion"]
        assert main(words) == 0
        map_quality = evaluated(RunFolder(run))
        assert map_quality is not None
        assert map_quality.better == {"deletion": False}
        assert set(map_quality.scores) == {"random", "center", "evidence"}
        (found,) = run.glob("evaluations/*/evaluation.json")
        later = found.stat().st_mtime + 1
        os.utime(run / "model.safetensors", (later, later))
        assert evaluated(RunFolder(run)) is None

    def test_a_quick_look_without_one(self, trained: tuple[Path, Path]) -> None:
        text = Page((trained[0] / "report.html").read_text("utf-8")).text
        assert "A quick look at up to 8 images" in text
        assert "insertion higher is better" in text
