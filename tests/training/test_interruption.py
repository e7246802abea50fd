"""Interrupted trainings resume with identical results; failures end in one-line errors."""

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
import yaml
from torch import Tensor

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main
from vision_attn.core.atomic import atomic_write
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.lock import hold_lock

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_fit.py"
AUTOMATIC = [word for word in TINY_RUN if word not in ("--data.batch_size", "8")]
EPOCHS = ["--trainer.max_epochs", "2", "--overlays", "false"]
Capture = pytest.CaptureFixture[str]


def test_killed_trainings_resume() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "3", "--seed", "3"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert "survived / tried: 3 / 3" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


@pytest.mark.parametrize("balance", ["true", "false"])
def test_training_is_reproducible(image_root: Path, tmp_path: Path, balance: str) -> None:
    """With no or two reader processes; with images in memory, or read again in each epoch."""
    words = ["fit", "--data", str(image_root), *TINY_RUN, *EPOCHS]
    words += ["--data.balanced_sampling", balance]
    streamed = ["--data.memory_limit", "0", "--data.num_workers"]
    for name, more in {"a": [], "b": [], "c": [*streamed, "0"], "d": [*streamed, "2"]}.items():
        assert main([*words, "--run_dir", str(tmp_path / name), *more]) == 0
    assert len({weights(tmp_path / name) for name in "abcd"}) == 1
    assert main([*words, "--run_dir", str(tmp_path / "e"), "--seed_everything", "1"]) == 0
    assert weights(tmp_path / "e") != weights(tmp_path / "a")


class InterruptOnce(pl.Callback):
    """Simulates Ctrl-C once, at the start of the second epoch."""

    done = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1 and not InterruptOnce.done:
            InterruptOnce.done = True
            raise KeyboardInterrupt


def test_resumed_reader_processes_continue_with_the_order_of_the_next_epoch(
    image_root: Path, tmp_path: Path
) -> None:
    """They prefetch images before Lightning sets the epoch."""
    name = "tests.training.test_interruption.InterruptOnce"
    words = ["fit", "--data", str(image_root), *TINY_RUN, *EPOCHS, "--trainer.callbacks+", name]
    words += ["--data.memory_limit", "0", "--data.num_workers", "2"]
    InterruptOnce.done = False
    resumed, uninterrupted = tmp_path / "resumed", tmp_path / "uninterrupted"
    assert main([*words, "--run_dir", str(resumed)]) == 130
    again = ["fit", "--run_dir", str(resumed), "--resume", "--report", "false", "--trust", name]
    assert main(again) == 0
    assert main([*words, "--run_dir", str(uninterrupted)]) == 0
    assert weights(resumed) == weights(uninterrupted)


def test_the_environment_is_recorded(trained: tuple[Path, Path]) -> None:
    (start,) = json.loads((trained[0] / "environment.json").read_text())["starts"]
    assert start["command"][:2] == ["fit", "--data"]
    assert start["seed"] == 0
    assert torch.__version__.startswith(start["versions"]["torch"].partition("+")[0])
    assert len(start["data"]["sha256"]) == 64
    assert start["hardware"]["cores"] >= 1
    assert set(start["git"]) == {"code", "here"}
    assert start["git"]["code"] is None or len(start["git"]["code"]["commit"]) == 40


def test_a_file_name_that_is_not_utf8(image_root: Path, tmp_path: Path) -> None:
    image = image_root / "train" / "red" / "000.png"
    image.rename(image.with_name(os.fsdecode(b"\xff.png")))
    words = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "run"), *TINY_RUN]
    assert main([*words, "--trainer.max_epochs", "1", "--overlays", "false"]) == 0
    assert b"train/red/\xff.png,red," in (tmp_path / "run" / "split.csv").read_bytes()


def test_changed_images_are_reported(image_root: Path, tmp_path: Path, capsys: Capture) -> None:
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
    assert "the images have changed since the run began" in capsys.readouterr().out


class InfiniteWeights(pl.Callback):
    """Makes weights infinite in the second epoch, so that the loss is NaN."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            with torch.no_grad():
                pl_module.get_parameter("model.head.weight").fill_(float("inf"))


def test_a_nan_loss_stops_the_training(image_root: Path, tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN, *EPOCHS]
    assert main([*words, "--trainer.callbacks+", f"{__name__}.InfiniteWeights"]) == 2
    output = capsys.readouterr().err
    assert "the loss is nan at step 3 of epoch 2 (learning rate" in output
    assert f"last good checkpoint is {run}/checkpoints/last.ckpt" in output
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 0
    assert all(t.isfinite().all() for t in checkpoint["state_dict"].values())
    assert RunFolder(run).load_model() is not None


def test_a_run_folder_is_locked_during_training(
    image_root: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision_attn.runs.lock.WAIT", 0.1)
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN, *EPOCHS]
    with hold_lock(RunFolder(run)):
        assert main(words) == 2
    assert f"process {os.getpid()} on" in capsys.readouterr().err
    (run / "model.safetensors").write_bytes(b"of a run that was killed before its checkpoint")
    assert main(words) == 0


def disk_full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_checkpoint_on_a_full_disk(
    image_root: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN, *EPOCHS]
    with monkeypatch.context() as patch:
        patch.setattr("vision_attn.training.callbacks.checkpoint_io.Path.write_bytes", disk_full)
        assert main(words) == 2
    assert "the disk is full: " in (output := capsys.readouterr().err)
    assert ".ckpt was not written" in output
    assert not list((run / "checkpoints").iterdir())
    assert main(words) == 0  # there is no checkpoint, so a new run may start


def test_a_partial_file_is_removed(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half")
        disk_full()

    with pytest.raises(Exception, match=r"the disk is full: .*a\.ckpt was not written"):
        atomic_write(tmp_path / "a.ckpt", write)
    assert not list(tmp_path.iterdir())


class AlwaysOutOfMemory(pl.Callback):
    """Runs out of memory in the first batch."""

    def on_train_batch_start(self, *_: Any) -> Tensor:
        return torch.empty(2**45)


class OutOfMemoryAboveBatchSize(pl.Callback):
    """Runs out of memory for batches of more than `most` images, starting at an epoch."""

    most, epoch = 4, 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: list[Tensor], i: int
    ) -> None:
        if len(batch[1]) > self.most and trainer.current_epoch >= self.epoch:
            torch.empty(2**45)


class OutOfMemoryInSecondEpoch(OutOfMemoryAboveBatchSize):
    epoch = 1


class TestOutOfMemory:
    """Batches of 8 images do not fit into memory, batches of 4 do."""

    SHORT = "memory    too small for batches of 8 images: "

    @pytest.fixture(autouse=True)
    def _small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vision_attn.data.default_sizes.SMALLEST_BATCH", 8)

    def fit(self, images: Path, run: Path, callback: type, *more: str) -> int:
        words = ["fit", "--data", str(images), "--run_dir", str(run), *AUTOMATIC, *EPOCHS, *more]
        return main([*words, "--trainer.callbacks+", f"{__name__}.{callback.__name__}"])

    def test_a_given_batch_size_is_kept(
        self, image_root: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        run = tmp_path / "run"
        assert self.fit(image_root, run, AlwaysOutOfMemory, "--data.batch_size", "8") == 2
        output = capsys.readouterr()
        advice = "--data.batch_size 4\n  --trainer.accumulate_grad_batches 2"
        assert f"batches of 8 images do not fit into memory; set {advice}" in output.err
        assert self.SHORT not in output.out

    def test_an_automatic_batch_size_is_halved_once(
        self, image_root: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        run = tmp_path / "run"
        assert self.fit(image_root, run, OutOfMemoryAboveBatchSize) == 0
        output = capsys.readouterr().out
        assert f"{self.SHORT}starting again with 2 batches of 4 per step" in output
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert config["data"]["batch_size"] == 4
        assert config["trainer"]["accumulate_grad_batches"] == 2
        typed = ["--data.batch_size", "4", "--trainer.accumulate_grad_batches", "2"]
        assert self.fit(image_root, tmp_path / "typed", OutOfMemoryAboveBatchSize, *typed) == 0
        assert weights(run) == weights(tmp_path / "typed")

    def test_it_resumes_from_the_last_checkpoint(
        self, image_root: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        run = tmp_path / "run"
        assert self.fit(image_root, run, OutOfMemoryInSecondEpoch) == 0
        assert f"{self.SHORT}resuming from the last checkpoint" in capsys.readouterr().out
        checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        # 20 images: 2 steps of batch size 8 in epoch 1, then 3 steps (4 + 4, 4 + 4, 4) in epoch 2.
        assert (checkpoint["epoch"], checkpoint["global_step"]) == (1, 2 + 3)

    def test_it_is_not_halved_twice(
        self, image_root: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(OutOfMemoryAboveBatchSize, "most", 2)
        assert self.fit(image_root, tmp_path / "run", OutOfMemoryAboveBatchSize) == 2
        output = capsys.readouterr()
        assert output.out.count("memory    too small") == 1
        assert "batches of 4 images do not fit into memory; set --data.batch_size 2" in output.err
