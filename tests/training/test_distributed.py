"""Distributed training (DDP) with two CPU processes, from the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch.testing import assert_close

from tests.conftest import TINY_RUN
from vision_attn.runs.folder import RunFolder, read_weights


@pytest.mark.parametrize("freeze", [0, 2])
def test_two_processes_train_one_model(
    trained: tuple[Path, Path], tmp_path: Path, freeze: int
) -> None:
    source, images = trained
    run = tmp_path / "run"
    words = ["fit", "--data", str(images), "--run_dir", str(run), *TINY_RUN]
    words += ["--init_from", str(source), "--model.freeze_epochs", str(freeze)]
    words += ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    words += ["--report", "true" if freeze else "false"]
    done = subprocess.run(
        [sys.executable, "-m", "vision_attn", *words, "--trainer.max_epochs", "2"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("epoch 2/2") == 1  # only one process prints
    assert "sync_dist" not in done.stderr
    assert done.stdout.count("report    ") == (freeze > 0), done.stderr[-2000:]
    assert (run / "report.html").exists() == (freeze > 0)
    assert json.loads((run / "metrics.json").read_text())["test/accuracy"] > 0.5
    before, after = (read_weights(RunFolder(path).weights) for path in (source, run))
    moved = {key for key in before if (after[key].float() - before[key].float()).abs().max() > 0}
    assert any(key.startswith("pooling.") for key in moved)
    assert any(key.startswith("backbone.") for key in moved) == (freeze == 0)
    assert_close(after["backbone.mean"], before["backbone.mean"])
