"""Shared fixtures: a tiny model, folders of tiny images, and a trained run."""

import os
import shutil
import tempfile

# No test asks timm's hub, or finds what was downloaded before; read when its client is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_CACHE"] = f"{tempfile.gettempdir()}/vision-attn-tests/no-weights"
os.environ["TORCH_HOME"] = os.environ["HF_HUB_CACHE"]

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from vision_attn.cli.main import main
from vision_attn.core.registry import available
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Pooling

TINY = {"channels": [8, 8, 16, 16]}  # a ResNet that takes a millisecond on a CPU
POOLINGS = available(Pooling)

# Every run draws the same examples, and nothing is written into the checkout.
hypothesis.settings.register_profile("tests", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("tests")
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", f"{tempfile.gettempdir()}/hypothesis")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def tiny_model() -> Callable[..., AttentionClassifier]:
    """Builds a model and trains it for some steps, so that all its weights have changed."""

    def build(pooling: str = "global_local", classes: int = 3) -> AttentionClassifier:
        backbone = Backbone("resnet10t", False, 2, TINY)
        model = AttentionClassifier(backbone, POOLINGS[pooling], classes)
        optimizer = torch.optim.AdamW(model.train().parameters(), lr=0.02)
        targets = torch.arange(9) % classes
        for _ in range(8):
            loss = torch.nn.functional.cross_entropy(model(torch.rand(9, 3, 32, 32)), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        optimizer.zero_grad()
        return model.eval()

    return build


def write_images(folder: Path, count: int, color: int, size: tuple[int, int] = (24, 20)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(color)
    for k in range(count):
        noise = random.integers(0, 60, (size[1], size[0], 3)).astype(np.uint8)
        noise[..., color % 3] += 150
        Image.fromarray(noise).save(folder / f"{k:03d}.png")


@pytest.fixture
def image_root(tmp_path: Path) -> Path:
    """A data set with train and test folders of two classes that differ in color."""
    root = tmp_path / "images"
    for split, count in (("train", 12), ("test", 4)):
        for color, name in enumerate(("red", "green")):
            write_images(root / split / name, count, color)
    return root


TINY_RUN = [
    "--model.backbone", "resnet10t", "--model.backbone_options", '{"channels": [8, 8, 16, 16]}',
    "--data.image_size", "32", "--data.batch_size", "8",
    "--report", "false",  # it takes seconds, and few tests need it
]  # fmt: skip


def fit_from_file(config: dict[str, Any], images: Path, run_dir: str = "new") -> list[str]:
    """Write a configuration into the working folder; the arguments that train with it."""
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    fit = ["fit", "--data", str(images), "--run_dir", run_dir, *TINY_RUN]
    return [*fit, "--config", "mine.yaml", "--epochs", "1"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that was trained on red and green images, and the folder of its images."""
    folder = tmp_path_factory.mktemp("trained")
    for split, count in (("train", 12), ("test", 4)):
        for color, name in enumerate(("red", "green")):
            write_images(folder / "images" / split / name, count, color)
    run = folder / "run"
    words = ["fit", "--data", str(folder / "images"), "--run_dir", str(run), *TINY_RUN]
    words += ["--trainer.max_epochs", "6", "--model.optimizer.lr", "0.01", "--report", "true"]
    assert main(words) == 0
    return run, folder / "images"


@pytest.fixture
def run(trained: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of a trained run, to be modified."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images of several sizes in nested folders, a damaged one, and a file that is not an image."""
    root = tmp_path / "photos"
    write_images(root / "b", 5, 0, size=(40, 30))
    write_images(root / "a" / "deep", 6, 1)
    write_images(root / "a", 3, 2, size=(9, 70))
    bad = root / "a" / "001.png"
    bad.write_bytes(bad.read_bytes()[:300])
    (root / "notes.txt").write_text("no image")
    return root
