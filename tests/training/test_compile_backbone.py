"""Training with `torch.compile`: the same weights up to rounding; also works without a compiler."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main


def words(image_root: Path, run: Path, *more: str) -> list[str]:
    """The command for two epochs of training in float32, the same with and without compiling."""
    base = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
    base += ["--trainer.precision", "32-true", "--model.optimizer", "SGD"]
    return [*base, "--model.optimizer.lr", "0.01", "--trainer.max_epochs", "2", *more]


@pytest.fixture
def eager_weights(image_root: Path, tmp_path: Path) -> dict[str, torch.Tensor]:
    run = tmp_path / "eager"
    assert main(words(image_root, run)) == 0
    return load_file(run / "model.safetensors")


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler: g++")
def test_compiled_training_gives_the_same_weights(
    image_root: Path, tmp_path: Path, eager_weights: dict[str, torch.Tensor], capsys
) -> None:
    torch.compiler.reset()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    run = tmp_path / "compiled"
    assert main(words(image_root, run, "--compile", "true", "--ema", "0")) == 0
    output = capsys.readouterr().out
    assert "compile   done in " in output
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before
    for name, weights in load_file(run / "model.safetensors").items():
        assert_close(
            weights, eager_weights[name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert main(["test", str(run)]) == 0
    assert main(["validate", str(run)]) == 0


def test_training_continues_without_a_compiler(
    image_root: Path, tmp_path: Path, eager_weights: dict[str, torch.Tensor]
) -> None:
    run = tmp_path / "failed"
    environment = {"CXX": "/no/such/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "vision_attn", *words(image_root, run, "--compile", "true")],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "compile   failed, so training is not compiled: InvalidCxxCompiler: " in done.stdout
    weights = load_file(run / "model.safetensors")
    assert all(torch.equal(weights[name], eager_weights[name]) for name in eager_weights)
