"""What is printed during a training without a terminal: its time, epochs and long epochs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clock import CLOCK
from tests.conftest import TINY_RUN
from vision_attn.cli.main import main
from vision_attn.core import pace as pace_module
from vision_attn.core import progress as bar_module
from vision_attn.training.callbacks import progress as lines_module
from vision_attn.training.callbacks import throughput as throughput_module

Capture = pytest.CaptureFixture[str]
Lines = tuple[list[str], list[str]]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CLOCK, "now", 0.0)
    for module in (bar_module, lines_module, pace_module, throughput_module):
        monkeypatch.setattr(module, "time", CLOCK)


@pytest.fixture
def train(image_root: Path, tmp_path: Path, capsys: Capture) -> Callable[..., Lines]:
    """A function that trains for 5 batches per epoch; its lines on progress."""

    def lines(*words: str) -> Lines:
        given = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "run"), *TINY_RUN]
        given += ["--data.batch_size", "4", "--overlays", "false"]
        assert main([*given, "--trainer.callbacks+", "tests.clock.Slow", *words]) == 0
        printed = capsys.readouterr()
        started = ("epoch", "time")
        out = [line for line in printed.out.splitlines() if line.startswith(started)]
        return out, printed.err.splitlines()

    return lines


def test_a_training(train: Callable[..., Lines]) -> None:
    """3 epochs of 5 x 10 + 4 s; the line within an epoch comes 30 s after its start."""
    out, err = train("--epochs", "3")
    assert out[0] == "time      training takes about 2:42 (10 s per step, 4 s per validation)"
    within = [line for line in out if "of 5 batches" in line]
    assert [line.partition("  ")[0] for line in within] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert within[0] == "epoch 1/3  3 of 5 batches  24.0 images/min, 2:12 left"
    assert [line[-9:] for line in out if "val/accuracy" in line] == [
        "1:48 left",
        "0:54 left",
        "0:00 left",
    ]
    assert err == []


def test_a_long_validation(train: Callable[..., Lines]) -> None:
    """10 validation images one by one, 4 s each: a line on standard error after 30 s.

    The final scores are a stage of their own, with an estimate of its time.
    """
    _, err = train("--epochs", "1", "--data.val_fraction", "0.4", "--data.batch_size", "1")
    assert err == [
        "validating: 8 of 10 batches, 15.0 batches/min",
        "validating: about 0:40 for 10 batches",
        "validating: 8 of 10 batches, 15.0 batches/min, 0:08 left",
    ]


def test_a_backbone_that_is_frozen_first(train: Callable[..., Lines]) -> None:
    out, _ = train("--epochs", "3", "--model.freeze_epochs", "1")
    assert sum(line.startswith("time") for line in out) == 2


def test_early_stopping_is_told(train: Callable[..., Lines]) -> None:
    out, _ = train("--epochs", "3", "--patience", "2")
    assert out[0].endswith("4 s per validation; shorter if it stops early)")
