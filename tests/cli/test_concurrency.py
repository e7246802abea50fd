"""Several processes at once on one run, and on one place to write to."""

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


def test_many_look_at_one_run(trained: Trained, tmp_path: Path) -> None:
    """Six processes, of which those that name no folder begin in the same second."""
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


def test_one_takes_a_folder(trained: Trained, tmp_path: Path) -> None:
    words = ["explain", str(trained[0]), str(trained[1] / "test"), "--explainers", "evidence"]
    (tmp_path / "out").mkdir()
    done = at_once([[*words, "--out", str(tmp_path / "out")] for _ in range(3)], tmp_path)
    assert sorted(code for code, _ in done) == [0, 2, 2]  # type: ignore[type-var]
    told = " ".join(words for code, words in done if code == 2)
    assert told.count("is not empty; name a new folder") == 2, told
    assert len(json.loads((tmp_path / "out" / "manifest.json").read_text())["images"]) == 8


def test_one_writes_a_table(trained: Trained, tmp_path: Path) -> None:
    """Begun, and gone on with."""
    words = ["predict", str(trained[0]), str(trained[1] / "test"), "--out", str(tmp_path / "t.csv")]
    done = at_once([words] * 3, tmp_path)
    assert [code for code, _ in done].count(0) == 1
    assert all("Traceback" not in told for _, told in done)
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


def test_a_table_is_held(tmp_path: Path) -> None:
    one, other = (PredictionWriter(tmp_path / "t.csv", ["a", "b"]) for _ in range(2))
    one.begin()
    for again in (other.begin, lambda: list(other.go_on())):
        with pytest.raises(UserError, match="another process predicts into"):
            again()
    one.close()
    other.begin()
    other.close()
    assert not list(tmp_path.iterdir())


def no_maps(*_: object) -> None:
    raise UserError("left out, as it takes seconds")


def test_two_pages_and_two_evaluations(
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


class TestOwnFolder:
    def test_the_second_of_a_second_has_a_number(self, tmp_path: Path) -> None:
        with output_folder(None, tmp_path) as one, output_folder(None, tmp_path) as two:
            (one / "a").touch()
            (two / "a").touch()
        assert two.name in (f"{one.name}-2", two.name)
        assert one != two
        assert {path.name for path in one.iterdir()} == {"a"}

    def test_what_stays_empty_goes(self, tmp_path: Path) -> None:
        with output_folder(str(tmp_path / "out"), tmp_path) as out:
            assert (out / MARKER).exists()
            with (
                pytest.raises(UserError, match="not empty"),
                output_folder(str(out), tmp_path),
            ):
                pass
        assert not out.exists()

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for name in ("file", "file/below"):
            with (
                pytest.raises(UserError, match="file"),
                output_folder(str(tmp_path / name), tmp_path),
            ):
                pass
