"""The order in which training images are drawn, and which of them are mirrored."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.sampler import EpochSampler
from vision_attn.data.sources.image_folder import ImageFolder


def shown(root: Path, epoch: int, **settings: int) -> dict[int, Tensor]:
    """What an epoch shows, by the number of the image: its left upper pixels tell it."""
    torch.manual_seed(3)
    data = ImageDataModule(ImageFolder(str(root)), 4, 32, flip="alternate", **settings)
    loader = data.loader("train", shuffle=True)
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    seen = torch.cat([images for images, _ in loader])
    numbers = [~k if k < 0 else k for k in loader.sampler]
    return dict(zip(numbers, seen, strict=True))


def sides(root: Path, epochs: Iterator[int] | range, **settings: int) -> list[list[bool]]:
    """Of each epoch, which images are mirrored."""
    store = ImageDataModule(ImageFolder(str(root)), 4, 32).store("train")
    found = []
    for epoch in epochs:
        images = shown(root, epoch, **settings)
        plain = [torch.equal(images[k], store[k][0]) for k in sorted(images)]
        turned = [torch.equal(images[k], store[k][0].flip(-1)) for k in sorted(images)]
        assert all(p != t for p, t in zip(plain, turned, strict=True))
        found.append(turned)
    return found


@pytest.mark.parametrize("settings", [{}, {"memory_limit": 0, "num_workers": 0}])
def test_every_image_is_mirrored_in_every_other_epoch(
    image_root: Path, settings: dict[str, int]
) -> None:
    first, second, third, ninth = sides(image_root, iter([0, 1, 2, 8]), **settings)
    assert 0 < sum(first) < len(first)  # which, is drawn
    assert second == [not turned for turned in first]
    assert third == ninth == first


def test_a_rare_class_drawn_twice_is_mirrored_alike() -> None:
    order = EpochSampler(6, seed=1, weights=torch.tensor([5.0, 1, 1, 1, 1, 1]), alternate=True)
    drawn = list(order)
    assert not {~k for k in drawn} & set(drawn)


def test_the_same_weights_with_no_or_two_readers(image_root: Path, tmp_path: Path) -> None:
    words = ["fit", "--data", str(image_root), *TINY_RUN, "--trainer.max_epochs", "2"]
    words += ["--data.flip", "alternate"]
    streamed = ["--data.memory_limit", "0", "--data.num_workers", "2"]
    for name, more in {"a": [], "b": streamed, "c": ["--data.flip", "true"]}.items():
        assert main([*words, *more, "--run_dir", str(tmp_path / name)]) == 0
    a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_another_word(image_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--data", str(image_root), *TINY_RUN, "--data.flip", "sometimes"]) == 2
    assert "flip" in capsys.readouterr().err
