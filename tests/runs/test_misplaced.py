"""A run folder from elsewhere with folders for files, and files for folders: no traceback."""

import shutil
from pathlib import Path

import pytest

from vision_attn.cli.main import main

Capture = pytest.CaptureFixture[str]
Trained = tuple[Path, Path]

FILES = [
    ".fit", ".fit.lock", "checkpoints/last.ckpt", "config.yaml", "environment.json",
    "metrics.json", "model.json", "model.safetensors", "report.html", "results.csv", "split.csv",
]  # fmt: skip
FOLDERS = ["checkpoints", "evaluations", "logs", "logs/csv", "logs/tensorboard", "pictures"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def commands(run: Path, images: Path) -> list[list[str]]:
    """Commands that read and write a run folder."""
    epochs = ["--trainer.max_epochs", "7", "--report", "false"]
    image = str(next(images.rglob("*.png")))
    return [
        ["fit", "--run_dir", str(run), "--resume", *epochs],
        ["test", str(run)],
        ["report", str(run)],
        ["explain", str(run), image],
        ["export", str(run), "--format", "hub", "--out", "hub"],
    ]


def no_traceback(run: Path, images: Path, capsys: Capture) -> None:
    """Run all commands; each is done, or refused in a line or two."""
    for words in commands(run, images / "test"):
        capsys.readouterr()
        code = main(words)
        errors = capsys.readouterr().err
        assert code in (0, 1, 2), words
        assert "Traceback" not in errors, words
        assert code == 0 or "vision-attn: " in errors, words


@pytest.mark.parametrize("name", FILES)
def test_a_folder_for_a_file(name: str, run: Path, trained: Trained, capsys: Capture) -> None:
    (run / name).unlink(missing_ok=True)
    (run / name / "inner").mkdir(parents=True)
    no_traceback(run, trained[1], capsys)
    assert (run / name / "inner").is_dir()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_for_a_folder(name: str, run: Path, trained: Trained, capsys: Capture) -> None:
    if (run / name).is_dir():
        shutil.rmtree(run / name)
    (run / name).write_text("a file")
    no_traceback(run, trained[1], capsys)
    assert (run / name).read_text() == "a file"
