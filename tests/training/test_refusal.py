"""A refused training has changed nothing: neither a new folder, nor the run that it resumes."""

from pathlib import Path

import pytest

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main

Capture = pytest.CaptureFixture[str]
Snapshot = dict[str, bytes | None]


def snapshot(folder: Path) -> Snapshot:
    """The content of every file in a folder, and its links and subfolders."""
    return {
        str(path.relative_to(folder)): (
            str(path.readlink()).encode() if path.is_symlink()
            else path.read_bytes() if path.is_file() else None
        )
        for path in sorted(folder.rglob("*"))
    }  # fmt: skip


REFUSED = {
    "epochs": (["--epochs", "0"], "--epochs 0 trains nothing"),
    "optimizer": (["--model.optimizer.lr", "-1"], "the optimizer refuses its arguments"),
    "never ends": (["--epochs", "-1"], "the training would never end"),
    "pooling": (["--pooling", "nothing"], "nothing"),
    "heads": (["--model.pooling.global_pooling", "global_attention",
               "--model.pooling.global_pooling.heads", "5"], "do not divide"),
    "logger": (["--trainer.logger", "WandbLogger"], "wandb"),
    "image size": (["--data.image_size", "0"], "must be between"),
    "unknown": (["--model.poling", "average"], "Did you mean"),
    "tune": (["--tune", "always"], "tune"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_new_run(
    name: str, image_root: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that does not exist, and in one with files of the user."""
    monkeypatch.chdir(tmp_path)
    words, reason = REFUSED[name]
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    before = snapshot(tmp_path)
    for folder in ("runs/new", "mine"):
        command = ["fit", "--data", str(image_root), "--run_dir", folder, *TINY_RUN, *words]
        assert main(command) == 2, folder
        assert reason in capsys.readouterr().err
        assert snapshot(tmp_path) == before, folder


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--epochs", "3"], "trained 6 epochs already, so it cannot end after 3"),
        (["--trainer.max_steps", "2"], "steps already, so it cannot end after 2"),
        (["--epochs", "8", "--trainer.gradient_clip_algorithm", "nothing"], "nothing"),
        (["--epochs", "8", "--model.pooling", "average"], "cannot change"),
        (["--data.batch_size", "0"], "must be between"),
        (["--trainer.logger", "WandbLogger"], "wandb"),
    ],
)  # fmt: skip
def test_resuming(words: list[str], reason: str, run: Path, capsys: Capture) -> None:
    """And the run can still go on."""
    before = snapshot(run)
    assert main(["fit", "--run_dir", str(run), "--resume", *words]) == 2
    assert reason in capsys.readouterr().err
    assert snapshot(run) == before


def test_the_run_goes_on_after_a_refusal(run: Path) -> None:
    resume = ["fit", "--run_dir", str(run), "--resume", "--report", "false"]
    assert main([*resume, "--epochs", "2"]) == 2
    assert main([*resume, "--epochs", "7"]) == 0
    assert "max_epochs: 7" in (run / "config.yaml").read_text()
