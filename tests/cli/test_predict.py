"""`vision-attn predict`: tables in every format, unreadable images, resuming."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet

from tests.conftest import write_images
from tests.prediction_rows import assert_same_predictions
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.data.io.paths import listed_images
from vision_attn.data.io.prefetch import read_ahead
from vision_attn.inference.prediction_table import PredictionWriter
from vision_attn.inference.trained_model import TrainedModel


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


class TestTables:
    def test_csv(self, trained: tuple[Path, Path], tmp_path: Path) -> None:
        run, images = trained
        out = tmp_path / "new" / "predictions.csv"
        assert main(["predict", str(run), str(images / "test"), "--out", str(out)]) == 0
        rows = rows_of(out)
        assert list(rows[0]) == [
            "file", "predicted", "probability", "error", "p_green", "p_red",
        ]  # fmt: skip
        assert [row["file"] for row in rows] == [
            str(path) for path in sorted((images / "test").rglob("*.png"))
        ]
        for row in rows:
            assert row["predicted"] == Path(row["file"]).parent.name
            assert row["probability"] == row[f"p_{row['predicted']}"]
            assert float(row["p_green"]) + float(row["p_red"]) == pytest.approx(1, abs=1e-6)
        assert [path.name for path in out.parent.iterdir()] == ["predictions.csv"]

    def test_all_formats_have_the_same_content(
        self, trained: tuple[Path, Path], photos: Path, tmp_path: Path
    ) -> None:
        for kind in ("csv", "jsonl", "parquet"):
            words = ["predict", str(trained[0]), str(photos), "--out", str(tmp_path / f"p.{kind}")]
            assert main(words) == 1  # one file is damaged
        rows = rows_of(tmp_path / "p.csv")
        lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
        table = parquet.read_table(tmp_path / "p.parquet")
        assert table.column_names == list(rows[0])
        assert table.schema.field("p_red").type == "float"
        parquet_rows = table.to_pylist()
        assert len(rows) == len(lines) == len(parquet_rows) == 14
        for row, line, cells in zip(rows, lines, parquet_rows, strict=True):
            assert row["file"] == line["file"] == cells["file"]
            assert (row["error"] or None) == line["error"] == cells["error"]
            assert (row["predicted"] or None) == line["predicted"] == cells["predicted"]
            if line["error"] is None:
                assert float(row["p_red"]) == line["probabilities"]["red"]
                assert np.float32(row["p_red"]) == np.float32(cells["p_red"])
            else:
                assert line["probability"] is cells["probability"] is cells["p_red"] is None
        assert not list(tmp_path.glob(".*")) + list(tmp_path.glob("*.part"))

    def test_the_order_of_files_and_a_damaged_file(
        self,
        trained: tuple[Path, Path],
        photos: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        out = tmp_path / "p.csv"
        assert main(["predict", str(trained[0]), str(photos), "--out", str(out)]) == 1
        output = capsys.readouterr()
        assert f"{photos / 'a' / '001.png'}: " in output.err
        assert f"14 images, 1 of which could not be read, in {out}" in output.out
        rows = rows_of(out)
        names = [Path(row["file"]).relative_to(photos).as_posix() for row in rows]
        assert names == [
            *(
                f"a/{k:03d}.png" for k in range(3)
            ),  # first the files of a folder, then its subfolders
            *(f"a/deep/{k:03d}.png" for k in range(6)),
            *(f"b/{k:03d}.png" for k in range(5)),
        ]
        assert [bool(row["error"]) for row in rows] == [False, True] + [False] * 12
        assert rows[1]["predicted"] == rows[1]["p_red"] == ""

    @pytest.mark.parametrize("batch_size", [1, 7])
    def test_results_do_not_depend_on_the_batch_size(
        self, batch_size: int, trained: tuple[Path, Path], photos: Path, tmp_path: Path
    ) -> None:
        """Probabilities are equal to 1e-6, everything else exactly."""
        words = ["predict", str(trained[0]), str(photos), "--out"]
        assert main([*words, str(tmp_path / "64.csv")]) == 1
        other = tmp_path / f"{batch_size}.csv"
        assert main([*words, str(other), "--batch_size", str(batch_size)]) == 1
        for one, two in zip(rows_of(tmp_path / "64.csv"), rows_of(other), strict=True):
            for key in ("file", "predicted", "error"):
                assert one[key] == two[key]
            for key in ("probability", "p_red", "p_green"):
                assert one[key] == two[key] or abs(float(one[key]) - float(two[key])) < 1e-6

    def test_file_names_with_line_breaks_or_invalid_utf8(
        self, trained: tuple[Path, Path], tmp_path: Path
    ) -> None:
        write_images(tmp_path, 1, 0)
        odd = tmp_path / os.fsdecode(b'a\xff,"b\n.png')
        (tmp_path / "000.png").rename(odd)
        for kind in ("csv", "jsonl", "parquet"):
            words = ["predict", str(trained[0]), str(odd), "--out", str(tmp_path / f"p.{kind}")]
            assert main(words) == 0
        escaped = str(tmp_path / 'a\\udcff,"b\\n.png')
        assert rows_of(tmp_path / "p.csv")[0]["file"] == escaped
        assert json.loads((tmp_path / "p.jsonl").read_text())["file"] == escaped
        assert parquet.read_table(tmp_path / "p.parquet").to_pylist()[0]["file"] == escaped

    def test_without_out_predictions_are_printed(
        self, trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        one = trained[1] / "test" / "red" / "000.png"
        assert main(["predict", str(trained[0]), str(one), "none.png"]) == 1
        output = capsys.readouterr()
        assert output.out.startswith(f"{one}: red ")
        assert "none.png: there is no such file" in output.err


class TestPaths:
    def test_lists_patterns_and_files(self, photos: Path, tmp_path: Path) -> None:
        listed = tmp_path / "list.txt"
        odd = tmp_path / "odd [1].png"
        shutil.copy(photos / "b" / "000.png", odd)
        listed.write_bytes(f"{odd}\r\n\n{photos / 'b'}\nnone.png\n".encode("utf-8-sig"))
        names = [path.name for path in listed_images([f"@{listed}", odd])]
        assert names == [odd.name, *(f"{k:03d}.png" for k in range(5)), "none.png", odd.name]
        pattern = str(photos / "**" / "00[02].png")
        found = [path.relative_to(photos).as_posix() for path in listed_images([pattern])]
        assert found == [
            "a/000.png", "a/002.png", "a/deep/000.png", "a/deep/002.png", "b/000.png", "b/002.png",
        ]  # fmt: skip

    def test_a_missing_file_in_a_list_may_look_like_a_pattern(
        self, trained: tuple[Path, Path], tmp_path: Path
    ) -> None:
        (tmp_path / "list.txt").write_text("gone [1].png\n@gone.png\n")
        words = ["predict", str(trained[0]), "--list", str(tmp_path / "list.txt")]
        assert main([*words, "--out", str(tmp_path / "p.csv")]) == 1
        rows = rows_of(tmp_path / "p.csv")
        assert [row["file"] for row in rows] == ["gone [1].png", "'@gone.png"]
        assert all("there is no such file" in row["error"] for row in rows)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["EMPTY", "--out", "p.csv"], "has no images in it"),
            (["EMPTY/*.png", "--out", "p.csv"], "no file matches"),
            (["@none.txt", "--out", "p.csv"], "the list none.txt: No such file"),
            (["--list", "none.txt"], "the list none.txt: No such file"),
            (["--out", "p.csv"], "name the images"),
            (["IMAGES", "--out", "p.cvs"], "does not end in .csv, .jsonl, .parquet. Did you"),
            (["IMAGES", "--out", "taken.csv"], "taken.csv exists; name a new file"),
            (["IMAGES", "--out", "p.csv", "--resume"], "there is no p.csv.part to resume from"),
            (["IMAGES", "--resume"], "--resume needs the table to resume"),
            (["IMAGES", "--batch_size", "0"], "--batch_size must be at least 1"),
        ],
    )
    def test_it_refuses_missing_paths_and_wrong_options(
        self, words: list[str], message: str, trained: tuple[Path, Path], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        (tmp_path / "EMPTY").mkdir()
        (tmp_path / "taken.csv").write_text("mine")
        words = [word.replace("IMAGES", str(trained[1] / "test")) for word in words]
        assert main(["predict", str(trained[0]), *words]) == 2
        assert message in capsys.readouterr().err
        assert (tmp_path / "taken.csv").read_text() == "mine"
        assert {path.name for path in tmp_path.iterdir()} == {"EMPTY", "taken.csv"}

    def test_parquet_without_pyarrow(
        self, trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        words = ["predict", str(trained[0]), str(trained[1]), "--out", str(tmp_path / "p.parquet")]
        assert main(words) == 2
        assert "pip install 'vision-attn[parquet]'" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


class TestInterruption:
    @pytest.fixture
    def stopped(
        self, trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> list[str]:
        """Arguments of a prediction that was interrupted at the eleventh of 24 rows."""
        words = ["predict", str(trained[0]), str(trained[1] / "train"), "--batch_size", "3"]
        self.interrupt(words, tmp_path / "p.csv", monkeypatch)
        return [*words, "--out", str(tmp_path / "p.csv")]

    @staticmethod
    def interrupt(words: list[str], out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        added = PredictionWriter.add

        def add(table: PredictionWriter, prediction: Any) -> None:
            if table.rows == 10:
                raise KeyboardInterrupt
            added(table, prediction)

        with monkeypatch.context() as patch:
            patch.setattr(PredictionWriter, "add", add)
            assert main([*words, "--out", str(out)]) == 130

    @pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
    def test_it_resumes_where_it_stopped(
        self, kind: str, trained: tuple[Path, Path], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        words = ["predict", str(trained[0]), str(trained[1] / "train"), "--batch_size", "3"]
        complete, out = tmp_path / f"complete.{kind}", tmp_path / f"p.{kind}"
        assert main([*words, "--out", str(complete)]) == 0
        self.interrupt(words, out, monkeypatch)
        part = tmp_path / f"p.{kind}.part"
        assert not out.exists()
        assert "continue with --resume" in capsys.readouterr().out
        with part.open("a") as file:
            file.write('{"file": "cut off')  # as if the process was killed while writing
        words += ["--out", str(out)]
        assert main(words) == 2
        assert "add --resume to continue it, or delete it" in capsys.readouterr().err
        assert main([*words, "--resume"]) == 0
        assert f"24 images in {out}" in capsys.readouterr().out
        assert not part.exists()
        assert_same_predictions(out, complete)

    def test_it_refuses_to_resume_with_other_images(
        self, stopped: list[str], photos: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*stopped[:2], str(photos), *stopped[3:], "--resume"]) == 2
        assert "name the same paths" in capsys.readouterr().err

    def test_it_refuses_to_resume_with_another_model(
        self, stopped: list[str], trained: tuple[Path, Path], tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        """Same classes, other weights: detected by predicting the last row again."""
        from safetensors.torch import load_file, save_file

        other = tmp_path / "other"
        other.mkdir()
        shutil.copy(trained[0] / "model.json", other)
        weights = load_file(trained[0] / "model.safetensors")
        weights["head.bias"] += torch.tensor([3.0, -3.0])
        save_file(weights, other / "model.safetensors")
        assert main([stopped[0], str(other), *stopped[2:], "--resume"]) == 2
        assert "another model" in capsys.readouterr().err
        assert main([*stopped, "--resume"]) == 0

    def test_an_immediate_failure_leaves_no_files(
        self, trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise UserError("the model fails")

        monkeypatch.setattr(TrainedModel, "predict_batch", fail)
        words = ["predict", str(trained[0]), str(trained[1]), "--out", str(tmp_path / "p.csv")]
        assert main(words) == 2
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk(
        self, trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        added = PredictionWriter.add

        def add(table: PredictionWriter, prediction: Any) -> None:
            added(table, prediction)
            if table.rows == 5:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(PredictionWriter, "add", add)
        words = ["predict", str(trained[0]), str(trained[1]), "--out", str(tmp_path / "p.csv")]
        assert main(words) == 2
        output = capsys.readouterr().err
        assert "the disk is full: " in output
        assert "p.csv.part was not written (free some space). Continue with --resume." in output


class TestReadAhead:
    def test_prefetching_is_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_images(tmp_path, 30, 0)
        requested: list[Path] = []

        def paths() -> Any:
            for path in sorted(tmp_path.iterdir()):
                requested.append(path)
                yield path

        files = read_ahead(paths(), 16, ahead=5)
        taken = [next(files) for _ in range(3)]
        assert [file.path.name for file in taken] == ["000.png", "001.png", "002.png"]
        assert len(requested) == 7  # five ahead, and one more for each of the two later requests
        files.close()
