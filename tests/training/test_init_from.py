"""Weights of a run, of a file inside it and of a bare file: the whole backbone, or nothing."""

import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main
from vision_attn.runs.folder import RunFolder

Capture = pytest.CaptureFixture[str]
PLAIN = ["--report", "false", "--epochs", "1"]


def fitted(images: Path, source: Path, run: Path, *words: str, code: int = 0) -> RunFolder:
    command = ["fit", "--data", str(images), "--init_from", str(source), "--run_dir", str(run)]
    assert main([*command, *PLAIN, *words]) == code
    return RunFolder(run)


@pytest.mark.parametrize("name", ["", "model.safetensors", "checkpoints/last.ckpt"])
def test_a_run_and_the_files_inside_it(
    name: str, trained: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    """The architecture comes from the run, and everything is loaded."""
    run, images = trained
    found = fitted(images, run / name, tmp_path / "new")
    spec, expected = found.load_spec(), RunFolder(run).load_spec()
    assert spec.settings() == expected.settings()
    total = sum(tensor.numel() for tensor in RunFolder(run).load_model().state_dict().values())
    printed = capsys.readouterr().out
    assert f"parameters from {run / name}" in printed
    assert "; new:" not in printed
    (line,) = [line for line in printed.splitlines() if "loaded" in line]
    loaded, of = line.split(" loaded ")[1].split(" parameters")[0].split(" of ")
    assert loaded == of
    assert int(of.replace(",", "")) <= total


def test_a_bare_file_with_the_same_network(
    trained: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    shutil.copy(trained[0] / "model.safetensors", tmp_path / "mine.safetensors")
    fitted(trained[1], tmp_path / "mine.safetensors", tmp_path / "new", *TINY_RUN)
    assert "; new: head.bias, head.weight" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["mine.safetensors", "mine.ckpt", "random.pt"])
def test_a_bare_file_of_another_network(
    name: str, trained: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    source = tmp_path / name
    if name == "random.pt":
        torch.save({"conv.weight": torch.ones(3, 3)}, source)
    else:
        original = "model.safetensors" if name.endswith("safetensors") else "checkpoints/last.ckpt"
        shutil.copy(trained[0] / original, source)
    run = tmp_path / "new"
    fitted(trained[1], source, run, "--pretrained", "false", code=2)
    printed = capsys.readouterr().err
    assert "of the backbone's" in printed
    assert "Name its run folder" in printed
    assert not run.exists()
