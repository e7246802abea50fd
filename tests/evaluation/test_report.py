"""The report of a run: its numbers are correct, it is self-contained, and it escapes all names."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import TINY_RUN, write_images
from tests.evaluation.html_page import Page
from vision_attn.cli.main import main


class TestReport:
    def test_fit_writes_a_report(self, trained: tuple[Path, Path]) -> None:
        text = (trained[0] / "report.html").read_text(encoding="utf-8")
        page = Page(text)
        assert (
            "The model got 8 of 8 test images right (100 %; 95 % interval 63 % to 100 %)"
            in page.text
        )
        assert page.tags["h1"] == 1
        assert page.tags["th"] > 10
        assert all(image["alt"] and image["src"] for image in page.images)
        assert len(page.images) >= 4  # the most confident of both classes, each with its evidence
        assert "chosen automatically" in page.text
        assert "Only 8 test images" in page.text
        assert "100 % (8) 100 % (8 of 8) 68 % to 100 %" in page.text
        assert (
            "None of the 8 test images looks the same" in page.text or "look the same" in page.text
        )
        assert "seed 0" in page.text
        assert "command vision-attn fit --data …/" in page.text
        assert len(page.ids) == len(set(page.ids))

    def test_it_is_self_contained(self, trained: tuple[Path, Path]) -> None:
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
        assert str(trained[1].parent) not in text  # no private folders
        assert "images" in Page(text).text

    def test_report_command_writes_it_again(
        self, trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "deep" / "page.html"
        before = (trained[0] / "report.html").read_bytes()
        assert main(["report", str(trained[0]), "--out", str(out)]) == 0
        assert f"report    {out}" in capsys.readouterr().out
        assert (trained[0] / "report.html").read_bytes() == before
        second, first = (Page(p.read_text("utf-8")).text for p in (out, trained[0] / "report.html"))
        for text in (
            "The model got 8 of 8 test images right",
            "chosen automatically",
            "AUROC 1.000",
        ):
            assert text in first
            assert text in second

    def test_names_are_escaped(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Class and file names that would be code if they were not escaped."""
        names = ("<script>alert(1)<", "a\" onload='x' &amp; $b$", "{{ 7 * 7 }}")
        for color, name in enumerate(names):
            write_images(tmp_path / "images" / name, 10, color)
            (tmp_path / "images" / name / "000.png").rename(
                tmp_path / "images" / name / "<img src=x onerror=alert(2)>.png"
            )
        run = tmp_path / "<b>run"
        command = ["fit", "--data", str(tmp_path / "images"), "--run_dir", str(run), *TINY_RUN]
        assert main([*command, "--trainer.max_epochs", "1", "--report", "true"]) == 0
        assert "report    " in capsys.readouterr().out
        text = (run / "report.html").read_text(encoding="utf-8")
        page = Page(text)
        assert page.tags["script"] == 0
        assert "<script" not in text
        assert "<img src=x" not in text
        for name in names:
            assert name in page.text

    def test_report_false_writes_no_report(self, image_root: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        command = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
        assert main([*command, "--trainer.max_epochs", "1", "--report", "false"]) == 0
        assert (run / "metrics.json").exists()
        assert not (run / "report.html").exists()

    def test_a_failed_report_does_not_fail_fit(
        self, image_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        def broken(*_: object) -> str:
            raise RuntimeError("plotting failed")

        monkeypatch.setattr("vision_attn.evaluation.report.page.predict_split", broken)
        run = tmp_path / "run"
        command = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
        assert main([*command, "--trainer.max_epochs", "1", "--report", "true"]) == 0
        output = capsys.readouterr()
        assert "no report: plotting failed" in output.err
        assert "look      vision-attn explain" in output.out
        assert (run / "metrics.json").exists()
        assert [path.name for path in run.glob("*report*")] == []

    def test_errors_are_one_line(
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
