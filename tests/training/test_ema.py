"""EMA of the weights: its formula, and that it is validated, tested and saved."""

import json
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main

Weights = dict[str, Tensor]


def weights_of(task: pl.LightningModule) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in task.model.state_dict().items()}


class Recorder(Callback):
    """Records the weights before and after each step, and those that are validated."""

    seen: list[tuple[str, Weights]] = []  # noqa: RUF012  (of the last training)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seen.clear()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.seen.append(("step", weights_of(pl_module)))

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.seen.append(("before", weights_of(pl_module)))

    def on_validation_epoch_end(self, trainer, pl_module) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.seen.append(("validated", weights_of(pl_module)))


@pytest.fixture
def run(image_root: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(path), *TINY_RUN]
    words += ["--trainer.max_epochs", "3", "--ema", "0.75", "--model.optimizer.lr", "0.02"]
    words += ["--trainer.callbacks+", "tests.training.test_ema.Recorder"]
    assert main(words) == 0
    return path


def test_validation_uses_the_average_and_training_the_weights(run: Path) -> None:
    average: Weights = {}
    weights: Weights = {}
    validations = 0
    for what, found in Recorder.seen:
        if what == "step":
            weights = found
            average = {
                name: (0.75 * average[name] + 0.25 * now if average else now)
                for name, now in found.items()
                if now.is_floating_point()
            }
        expected = average if what == "validated" else weights
        validations += what == "validated"
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, msg=f"{what}: {name}")
    assert validations == 3
    assert any(not torch.equal(average[name], weights[name]) for name in average)
    assert not torch.equal(*(w["backbone.net.bn1.running_var"] for w in (average, weights)))


def test_the_validated_weights_are_saved(run: Path) -> None:
    saved = load_file(run / "model.safetensors")
    validated = [found for what, found in Recorder.seen if what == "validated"]
    same = [all(torch.equal(found[n], saved[n]) for n in saved) for found in validated]
    assert sum(same) == 1


def test_testing_after_training_uses_the_saved_weights(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lightning's own callback would score the last average instead."""
    test_loss = json.loads((run / "metrics.json").read_text())["test/loss"]
    capsys.readouterr()
    assert main(["test", str(run), "--trust", "tests.training.test_ema.Recorder"]) == 0
    assert f"test/loss {test_loss:.4f}" in capsys.readouterr().out


def test_without_validation_the_average_is_saved(image_root: Path, tmp_path: Path) -> None:
    words = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "run"), *TINY_RUN]
    words += ["--trainer.max_epochs", "2", "--ema", "0.5", "--trainer.check_val_every_n_epoch", "3"]
    assert main([*words, "--trainer.callbacks+", "tests.training.test_ema.Recorder"]) == 0
    saved = load_file(tmp_path / "run" / "model.safetensors")
    steps = [found for what, found in Recorder.seen if what == "step"]
    average = steps[0]
    for found in steps[1:]:
        average = {n: 0.5 * average[n] + 0.5 * found[n] for n in found}
    for name in ("head.weight", "backbone.net.bn1.running_mean"):
        torch.testing.assert_close(saved[name], average[name])


def test_a_decay_out_of_range_is_refused(
    image_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--data", str(image_root), *TINY_RUN, "--ema", "1"]) == 2
    assert "--ema must be at least 0 and below 1" in capsys.readouterr().err
