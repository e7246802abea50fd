"""Compiled training: the same weights but for rounding; without a compiler nothing is lost."""

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
    """A training of two epochs in float32, on which nothing but compiling can make a difference."""
    base = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
    base += ["--trainer.precision", "32-true", "--model.optimizer", "SGD"]
    return [*base, "--model.optimizer.lr", "0.01", "--trainer.max_epochs", "2", *more]


@pytest.fixture
def plain(image_root: Path, tmp_path: Path) -> dict[str, torch.Tensor]:
    run = tmp_path / "plain"
    assert main(words(image_root, run)) == 0
    return load_file(run / "model.safetensors")


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler: g++")
def test_compiled_training_learns_the_same(
    image_root: Path, tmp_path: Path, plain: dict[str, torch.Tensor], capsys
) -> None:
    torch.compiler.reset()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    run = tmp_path / "compiled"
    assert main(words(image_root, run, "--compile", "true", "--ema", "0")) == 0
    told = capsys.readouterr().out
    assert "compile   done in " in told
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before
    for name, weights in load_file(run / "model.safetensors").items():
        assert_close(weights, plain[name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert main(["test", str(run)]) == 0
    assert main(["validate", str(run)]) == 0


def test_a_training_goes_on_without_a_compiler(
    image_root: Path, tmp_path: Path, plain: dict[str, torch.Tensor]
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
    assert all(torch.equal(weights[name], plain[name]) for name in plain)
