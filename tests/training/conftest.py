"""Images of different sizes, and machines with and without a GPU."""

from pathlib import Path

import pytest
import torch

from tests.conftest import write_images


def images_of(side: int, folder: Path) -> str:
    """Write a few images of `side` pixels, and return their folder."""
    for color, name in enumerate(("red", "green")):
        write_images(folder / "train" / name, 3, color, size=(side + 8, side))
    return str(folder)


@pytest.fixture
def photographs(tmp_path: Path) -> str:
    return images_of(300, tmp_path / "photographs")


@pytest.fixture
def thumbnails(tmp_path: Path) -> str:
    return images_of(63, tmp_path / "thumbnails")


@pytest.fixture
def accelerated(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether there is a GPU; False unless a test is parametrized with it."""
    there = bool(getattr(request, "param", False))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: there)
    return there
