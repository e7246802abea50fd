"""A training that is killed, goes on, and ends as if nothing had been; and one that goes wrong."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from vision_attn.cli import main
from vision_attn.commands.occupied import occupied
from vision_attn.run import RunFolder, write_whole

from .conftest import TINY_RUN

SCRIPT = Path(__file__).parents[1] / "scripts" / "kill_fit.py"
EPOCHS = ["--trainer.max_epochs", "2", "--overlays", "false"]
Capture = pytest.CaptureFixture[str]


def test_kills() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "3", "--seed", "3"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert "survived / tried: 3 / 3" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


@pytest.mark.parametrize("balance", ["true", "false"])
def test_the_same_weights_twice(image_root: Path, tmp_path: Path, balance: str) -> None:
    """With no, or two, reader processes; from memory, or read anew each epoch."""
    words = ["fit", "--data", str(image_root), *TINY_RUN, *EPOCHS, "--data.balance", balance]
    streamed = ["--data.memory_limit", "0", "--data.num_workers"]
    for name, more in {"a": [], "b": [], "c": [*streamed, "0"], "d": [*streamed, "2"]}.items():
        assert main([*words, "--run_dir", str(tmp_path / name), *more]) == 0
    assert len({weights(tmp_path / name) for name in "abcd"}) == 1
    assert main([*words, "--run_dir", str(tmp_path / "e"), "--seed_everything", "1"]) == 0
    assert weights(tmp_path / "e") != weights(tmp_path / "a")


def test_what_a_run_ran_on(trained: tuple[Path, Path]) -> None:
    (start,) = json.loads((trained[0] / "environment.json").read_text())["starts"]
    assert start["command"][:2] == ["fit", "--data"]
    assert start["seed"] == 0
    assert torch.__version__.startswith(start["versions"]["torch"].partition("+")[0])
    assert len(start["data"]["sha256"]) == 64
    assert start["hardware"]["cores"] >= 1


def test_images_that_changed(image_root: Path, tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN, *EPOCHS]
    assert main(words) == 0
    again = ["fit", "--run_dir", str(run), "--resume", "--report", "false"]
    assert main(again) == 0
    assert "not those that the run began with" not in capsys.readouterr().out
    first, second = sorted((image_root / "train" / "red").iterdir())[:2]
    first.write_bytes(second.read_bytes())
    assert main(again) == 0
    assert "not those that the run began with" in capsys.readouterr().out
    first.unlink()
    assert main(again) == 0
    assert "the images changed since the run began" in capsys.readouterr().out


class Spoil(pl.Callback):
    """Makes the loss infinite in the second epoch."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            with torch.no_grad():
                pl_module.get_parameter("model.head.weight").fill_(float("inf"))


def test_a_loss_that_is_no_number(image_root: Path, tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN, *EPOCHS]
    assert main([*words, "--trainer.callbacks+", "tests.test_interruption.Spoil"]) == 2
    told = capsys.readouterr().err
    assert "the loss is nan at step 3 of epoch 2 (learning rate" in told
    assert f"last good checkpoint is {run}/checkpoints/last.ckpt" in told
    kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 0
    assert all(t.isfinite().all() for t in kept["state_dict"].values())
    assert RunFolder(run).load_model() is not None


def test_one_at_a_time(
    image_root: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision_attn.commands.occupied.PATIENCE", 0.1)
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN, *EPOCHS]
    with occupied(RunFolder(run)):
        assert main(words) == 2
    assert f"is being trained in by process {os.getpid()}" in capsys.readouterr().err
    (run / "model.safetensors").write_bytes(b"of a run that was killed before its checkpoint")
    assert main(words) == 0


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk(
    image_root: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN, *EPOCHS]
    with monkeypatch.context() as patch:
        patch.setattr("vision_attn.checkpoints.Path.write_bytes", full)
        assert main(words) == 2
    assert "the disk is full: " in (told := capsys.readouterr().err)
    assert ".ckpt was not written" in told
    assert not list((run / "checkpoints").iterdir())
    assert main(words) == 0  # nothing was kept, so it can begin anew


def test_half_a_file_is_removed(tmp_path: Path) -> None:
    def write(place: Path) -> None:
        place.write_bytes(b"half")
        full()

    with pytest.raises(Exception, match=r"the disk is full: .*a\.ckpt was not written"):
        write_whole(tmp_path / "a.ckpt", write)
    assert not list(tmp_path.iterdir())


class Hungry(pl.Callback):
    """Asks for more memory than there is."""

    def on_train_batch_start(self, *_: Any) -> Tensor:
        return torch.empty(2**45)


def test_too_little_memory(image_root: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "run"), *TINY_RUN]
    assert main([*words, "--trainer.callbacks+", "tests.test_interruption.Hungry"]) == 2
    told = capsys.readouterr().err
    assert "batches of 8 images do not fit into memory; set --data.batch_size 4" in told
