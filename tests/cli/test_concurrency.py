"""Concurrency: several processes use one run, and write to the same folder or table."""

import csv
import json
from pathlib import Path

import pytest

from tests.processes import at_once
from vision_attn.cli.arguments import MARKER, output_folder
from vision_attn.core.errors import UserError
from vision_attn.inference.prediction_table import PredictionWriter

Trained = tuple[Path, Path]
Capture = pytest.CaptureFixture[str]


def test_several_processes_read_one_run(trained: Trained, tmp_path: Path) -> None:
    """Six processes; those without --out start in the same second."""
    run, images = str(trained[0]), str(trained[1] / "test")
    tables = [tmp_path / f"{number}.csv" for number in range(3)]
    commands = [["predict", run, images, "--out", str(table)] for table in tables]
    commands += [["explain", run, images, "--explainers", "evidence"] for _ in range(3)]
    before = set((trained[0] / "pictures").glob("*"))
    codes = [code for code, _ in at_once(commands, tmp_path)]
    assert codes == [0] * 6
    assert len({table.read_bytes() for table in tables}) == 1
    made = set((trained[0] / "pictures").glob("*")) - before
    assert len(made) == 3
    for folder in made:
        entries = json.loads((folder / "manifest.json").read_text())["images"]
        assert len(entries) == 8
        assert {entry["sheet"] for entry in entries} == {p.name for p in folder.glob("*.png")}
        assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


def test_only_one_process_writes_to_a_folder(trained: Trained, tmp_path: Path) -> None:
    words = ["explain", str(trained[0]), str(trained[1] / "test"), "--explainers", "evidence"]
    (tmp_path / "out").mkdir()
    done = at_once([[*words, "--out", str(tmp_path / "out")] for _ in range(3)], tmp_path)
    assert sorted(code for code, _ in done) == [0, 2, 2]  # type: ignore[type-var]
    errors = " ".join(words for code, words in done if code == 2)
    assert errors.count("is not empty; name a new folder") == 2, errors
    assert len(json.loads((tmp_path / "out" / "manifest.json").read_text())["images"]) == 8


def test_only_one_process_writes_a_table(trained: Trained, tmp_path: Path) -> None:
    """A new table, and a resumed one."""
    words = ["predict", str(trained[0]), str(trained[1] / "test"), "--out", str(tmp_path / "t.csv")]
    done = at_once([words] * 3, tmp_path)
    assert [code for code, _ in done].count(0) == 1
    assert all("Traceback" not in output for _, output in done)
    with (tmp_path / "t.csv").open(newline="") as lines:
        rows = list(csv.reader(lines))
    assert len(rows) == 1 + 8
    (tmp_path / "t.csv").unlink()
    with (tmp_path / "t.csv.part").open("w", newline="") as part:
        csv.writer(part, lineterminator="\n").writerows(rows[:5])
    done = at_once([[*words, "--resume"]] * 3, tmp_path)
    assert [code for code, _ in done].count(0) == 1
    with (tmp_path / "t.csv").open(newline="") as lines:
        assert [row[:2] for row in csv.reader(lines)] == [row[:2] for row in rows]


def test_a_table_is_locked(tmp_path: Path) -> None:
    first, second = (PredictionWriter(tmp_path / "t.csv", ["a", "b"]) for _ in range(2))
    first.begin()
    for start in (second.begin, lambda: list(second.resume())):
        with pytest.raises(UserError, match="another process is writing to"):
            start()
    first.close()
    second.begin()
    second.close()
    assert not list(tmp_path.iterdir())


def no_maps(*_: object) -> None:
    raise UserError("skipped, because it takes seconds")


def test_two_reports_and_two_evaluations(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision_attn.evaluation.report.page.map_quality", no_maps)
    run, out = str(trained[0]), tmp_path / "page.html"
    scores = ["evaluate", run, "--metrics", "deletion", "--explainers", "evidence"]
    commands = [["report", run, "--out", str(out)]] * 2
    commands += [[*scores, "--out", str(tmp_path / "scores")]] * 2
    done = at_once(commands, tmp_path)
    assert [code for code, _ in done[:2]] == [0, 0]
    assert sorted(code for code, _ in done[2:]) == [0, 2]  # type: ignore[type-var]
    assert out.read_text("utf-8").rstrip().endswith("</html>")
    assert (
        "deletion"
        in json.loads((tmp_path / "scores" / "evaluation.json").read_text())["higher_is_better"]
    )
    assert {path.name for path in (tmp_path / "scores").iterdir()} == {
        "evaluation.json", "evaluation.png",
    }  # fmt: skip


class TestOutputFolder:
    def test_a_second_folder_in_the_same_second_gets_a_number(self, tmp_path: Path) -> None:
        with output_folder(None, tmp_path) as one, output_folder(None, tmp_path) as two:
            (one / "a").touch()
            (two / "a").touch()
        assert two.name in (f"{one.name}-2", two.name)
        assert one != two
        assert {path.name for path in one.iterdir()} == {"a"}

    def test_an_empty_folder_is_removed(self, tmp_path: Path) -> None:
        with output_folder(str(tmp_path / "out"), tmp_path) as out:
            assert (out / MARKER).exists()
            with (
                pytest.raises(UserError, match="not empty"),
                output_folder(str(out), tmp_path),
            ):
                pass
        assert not out.exists()

    def test_it_refuses_a_file_as_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for name in ("file", "file/below"):
            with (
                pytest.raises(UserError, match="file"),
                output_folder(str(tmp_path / name), tmp_path),
            ):
                pass
