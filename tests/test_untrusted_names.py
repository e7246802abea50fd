"""Untrusted names of files and classes: printed on one line, and no formulas in a spreadsheet."""

import csv
import json
import shutil
import unicodedata
from pathlib import Path

import pytest

from tests.conftest import TINY_RUN, write_images
from tests.prediction_rows import assert_same_predictions
from vision_attn.cli.main import main

CLASSES = ["\x1b[2Jred", "=HYPERLINK(1)", "[bold]\u202eb"]  # in sorted order
FORGED = ["\x1b[2Jred", "a\nvision-attn: forged", "=HYPERLINK(1)"]  # for model.json
IMAGES = ["\x1b]0;x\x07.png", "=1+1.png", "-2.png", "@SUM(A1).png", "\u2028.png"]
BREAKS = ["a\nforged.png", "a\rforged.png"]  # a table has no such names
Capture = pytest.CaptureFixture[str]
Hostile = tuple[Path, Path]


def check(printed: str) -> None:
    """Check that no line is forged and no character controls the terminal."""
    lines = printed.split("\n")
    characters = set("".join(lines))
    assert not [c for c in characters if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not characters & set("\u202a\u202b\u202c\u202d\u202e")
    assert not [line for line in lines if line.startswith(("vision-attn: forged", "forged"))]


def printed_by(words: list[str], capsys: Capture, code: int = 0) -> str:
    """What a command prints; it is checked."""
    capsys.readouterr()
    assert main(words) == code
    printed = "".join(capsys.readouterr())
    check(printed)
    return printed


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    """A run that was trained on images with hostile names, and the folder of its images."""
    folder = tmp_path_factory.mktemp("hostile")
    for split, count in (("train", 9), ("test", 7)):
        for color, name in enumerate(CLASSES):
            write_images(folder / "images" / split / name, count, color)
            for number, image in enumerate(IMAGES):
                path = folder / "images" / split / name / f"{number:03d}.png"
                path.rename(path.with_name(image))
    words = ["fit", "--data", str(folder / "images"), "--run_dir", str(folder / "run"), *TINY_RUN]
    assert main([*words, "--trainer.max_epochs", "3"]) == 0
    for number, image in enumerate(BREAKS, len(IMAGES)):
        for path in (folder / "images" / "test").glob(f"*/{number:03d}.png"):
            path.rename(path.with_name(image))
    return folder / "run", folder / "images"


@pytest.fixture
def forged(hostile: Hostile, tmp_path: Path) -> Path:
    """A copy of the run with line breaks in the class names of its model.json."""
    run = Path(shutil.copytree(hostile[0], tmp_path / "forged"))
    spec = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps(spec | {"class_names": FORGED}))
    return run


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def damaged(count: int = 1) -> Path:
    """A folder with damaged images whose names are hostile."""
    folder = Path("damaged")
    folder.mkdir()
    for name in [*BREAKS, *IMAGES][:count]:
        (folder / name).write_bytes(b"no image")
    return folder


def test_fit(hostile: Hostile, capsys: Capture) -> None:
    words = ["fit", "--data", str(hostile[1]), "--run_dir", "new\x1b[2J\n", *TINY_RUN]
    assert "forged" not in printed_by([*words, "--trainer.max_epochs", "1"], capsys)


@pytest.mark.parametrize("command", ["validate", "test", "evaluate", "report"])
def test_commands_on_a_run(command: str, hostile: Hostile, capsys: Capture) -> None:
    words = ["--limit", "4", "--explainers", "evidence"] if command == "evaluate" else []
    words += ["--out", "report\x1b[0m.html"] if command == "report" else []
    printed = printed_by([command, str(hostile[0]), *words], capsys)
    assert command != "report" or "report\\x1b[0m.html" in printed


def test_explain(forged: Path, hostile: Hostile, capsys: Capture) -> None:
    words = ["explain", str(forged), str(hostile[1] / "test"), str(damaged(3)), "--classes", "2"]
    printed = printed_by([*words, "--out", "sheets\n"], capsys, code=1)
    assert "a\\nforged.png" in printed
    assert "21 sheets in sheets\\n" in printed


def test_check(hostile: Hostile, capsys: Capture) -> None:
    folder = hostile[1] / "train"
    assert "\\x1b[2Jred" in printed_by(["check", str(folder)], capsys, code=1)


@pytest.mark.parametrize(("kind", "end"), [("torch_export", ".pt2"), ("hub", "")])
def test_export(kind: str, end: str, forged: Path, hostile: Hostile, capsys: Capture) -> None:
    images = str(hostile[1] / "test" / CLASSES[0])
    words = ["export", str(forged), "--format", kind, "--out", f"export\x1b{end}"]
    assert f"export\\x1b{end}" in printed_by([*words, "--images", images], capsys)


def test_errors(hostile: Hostile, capsys: Capture) -> None:
    """An error may take more than a line, but its later lines are indented."""
    for words in (
        ["predict", str(hostile[0]), "none\x1b[2J\nvision-attn: forged"],
        ["fit\nvision-attn: forged"],
        ["predict", str(hostile[0]), "a", "--x\x1b\nforged"],
        ["test", "run\x1b[2J\rvision-attn: forged"],
    ):
        assert printed_by(words, capsys, code=2).startswith("vision-attn: ")
    write_images(Path("other") / "x\nvision-attn: forged", 2, 0)
    printed = printed_by(["test", str(hostile[0]), "--data", "other"], capsys, code=2)
    assert len(printed.splitlines()) <= 3


def test_predict(forged: Path, hostile: Hostile, capsys: Capture) -> None:
    printed = printed_by(["predict", str(forged), str(hostile[1] / "test")], capsys)
    assert len(printed.splitlines()) == 7 * len(CLASSES)
    assert "\\x1b[2Jred" in printed
    printed = printed_by(
        ["predict", str(forged), str(damaged(3)), "--out", "o\n.csv"], capsys, code=1
    )
    assert "a\\nforged.png" in printed


def test_a_table_of_predictions(
    forged: Path,
    hostile: Hostile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    """In CSV, text that a spreadsheet would calculate begins with an apostrophe."""
    monkeypatch.chdir(hostile[1] / "test" / CLASSES[1])
    names = ["=1+1.png", "a\nforged.png", "@SUM(A1).png", "\x1b]0;x\x07.png"]
    for kind in ("csv", "jsonl"):
        words = ["predict", str(forged), *names, "--out", str(tmp_path / f"o.{kind}")]
        printed_by(words, capsys)
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shown = ["=1+1.png", "a\\nforged.png", "@SUM(A1).png", "\\x1b]0;x\\x07.png"]
    assert [row["file"] for row in rows] == ["'=1+1.png", shown[1], "'@SUM(A1).png", shown[3]]
    classes = {"\\x1b[2Jred", "a\\nvision-attn: forged", "'=HYPERLINK(1)"}
    assert {row["predicted"] for row in rows} <= classes
    assert not [c for row in rows for c in row.values() if c[0:1] in ("=", "+", "-", "@")]
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == shown
    assert {line["predicted"] for line in lines} <= set(FORGED)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("label", CLASSES)
def test_resume(
    label: str, kind: str, forged: Path, hostile: Hostile, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: Capture,
) -> None:  # fmt: skip
    """The names in an interrupted table are those of the files, and its last row is compared."""
    monkeypatch.chdir(hostile[1] / "test" / label)
    whole, part, out = (tmp_path / name for name in (f"o.{kind}", f"p.{kind}.part", f"p.{kind}"))
    words = ["predict", str(forged), "=1+1.png", "a\nforged.png", "@SUM(A1).png", "--out"]
    printed_by([*words, str(whole)], capsys)
    for kept in range(-3, 0):
        part.write_text("".join(whole.read_text().splitlines(keepends=True)[:kept]))
        if part.stat().st_size:
            printed_by([*words, str(out), "--resume"], capsys)
            assert_same_predictions(out, whole)
            out.unlink()


def test_parquet_has_names_as_they_are(
    forged: Path, hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:  # fmt: skip
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.chdir(hostile[1] / "test" / CLASSES[1])
    out = tmp_path / "o.parquet"
    printed_by(["predict", str(forged), "=1+1.png", "--out", str(out)], capsys)
    assert parquet.read_table(out)["file"].to_pylist() == ["=1+1.png"]
