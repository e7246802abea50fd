"""Shared pieces: a tiny backbone, tiny folders of images, and prime-sized tensors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vision_attn.backbone import Backbone
from vision_attn.catalog import catalog
from vision_attn.model import AttentionClassifier
from vision_attn.pooling.base import Pooling

TINY = {"channels": [8, 8, 16, 16]}  # a ResNet that a CPU runs in a millisecond
POOLINGS = catalog(Pooling)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def tiny_model() -> Callable[..., AttentionClassifier]:
    """Builds a model and trains it for some steps, so that nothing in it is as initialised."""

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


def write_images(folder: Path, count: int, colour: int, size: tuple[int, int] = (24, 20)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(colour)
    for k in range(count):
        noise = random.integers(0, 60, (size[1], size[0], 3)).astype(np.uint8)
        noise[..., colour % 3] += 150
        Image.fromarray(noise).save(folder / f"{k:03d}.png")


@pytest.fixture
def image_root(tmp_path: Path) -> Path:
    """train and test folders of two classes that differ in colour."""
    root = tmp_path / "images"
    for split, count in (("train", 12), ("test", 4)):
        for colour, name in enumerate(("red", "green")):
            write_images(root / split / name, count, colour)
    return root
