"""TensorBoard overlays: heatmaps of a few validation images in every epoch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main
from vision_attn.training.callbacks.tensorboard_overlays import SIDE, strips


def read_logs(run: Path) -> EventAccumulator:
    """Read the TensorBoard logs of a run."""
    found = EventAccumulator(str(run / "logs" / "tensorboard" / "version_0"), {"images": 0})
    found.Reload()
    return found


def test_overlays_are_written_in_each_epoch(trained: tuple[Path, Path]) -> None:
    found = read_logs(trained[0])
    names = found.Tags()["images"]
    classes = [name.split("_")[-1] for name in names]
    assert classes == ["green", "green", "red", "red"]  # all validation images
    for name in names:
        steps = [image.step for image in found.Images(name)]
        assert len(steps) == 6
        assert sorted(set(steps)) == steps


def test_overlays_can_be_turned_off(image_root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["fit", "--data", str(image_root), "--run_dir", str(run), *TINY_RUN]
    assert main([*words, "--trainer.max_epochs", "1", "--overlays", "false"]) == 0
    assert read_logs(run).Tags()["images"] == []


@pytest.mark.parametrize("size", [32, 192])
def test_a_strip_shows_image_attention_and_evidence(tiny_model, size: int) -> None:
    images = torch.randint(256, (2, 3, size, size), dtype=torch.uint8)
    found = dict(strips(tiny_model(), images, ["ant", "bee"]))
    assert list(found) == ["overlays/1_ant", "overlays/2_bee"]
    side = min(size, SIDE)
    for strip in found.values():
        assert strip.shape == (side, 3 * side, 3)
    if size == side:
        pixels = images[1].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(found["overlays/2_bee"][:, :size], pixels)
