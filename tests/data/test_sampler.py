"""The sampling order of training images, and alternating flips."""

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


def images_of_epoch(root: Path, epoch: int, **settings: int) -> dict[int, Tensor]:
    """The training images of an epoch as the model sees them, by their index."""
    torch.manual_seed(3)
    data = ImageDataModule(ImageFolder(str(root)), 4, 32, flip="alternate", **settings)
    loader = data.loader("train", shuffle=True)
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    seen = torch.cat([images for images, _ in loader])
    indices = [~k if k < 0 else k for k in loader.sampler]
    return dict(zip(indices, seen, strict=True))


def flips(root: Path, epochs: Iterator[int] | range, **settings: int) -> list[list[bool]]:
    """For each epoch, whether each image is flipped."""
    store = ImageDataModule(ImageFolder(str(root)), 4, 32).store("train")
    result = []
    for epoch in epochs:
        images = images_of_epoch(root, epoch, **settings)
        plain = [torch.equal(images[k], store[k][0]) for k in sorted(images)]
        flipped = [torch.equal(images[k], store[k][0].flip(-1)) for k in sorted(images)]
        assert all(p != f for p, f in zip(plain, flipped, strict=True))
        result.append(flipped)
    return result


@pytest.mark.parametrize("settings", [{}, {"memory_limit": 0, "num_workers": 0}])
def test_every_image_is_flipped_in_every_other_epoch(
    image_root: Path, settings: dict[str, int]
) -> None:
    first, second, third, ninth = flips(image_root, iter([0, 1, 2, 8]), **settings)
    assert 0 < sum(first) < len(first)  # a random part of them
    assert second == [not flipped for flipped in first]
    assert third == ninth == first


def test_an_image_drawn_twice_in_an_epoch_is_flipped_both_times_or_never() -> None:
    order = EpochSampler(6, seed=1, weights=torch.tensor([5.0, 1, 1, 1, 1, 1]), alternate=True)
    drawn = list(order)
    assert not {~k for k in drawn} & set(drawn)


def test_weights_are_the_same_without_and_with_two_workers(
    image_root: Path, tmp_path: Path
) -> None:
    command = ["fit", "--data", str(image_root), *TINY_RUN, "--trainer.max_epochs", "2"]
    command += ["--data.flip", "alternate"]
    streamed = ["--data.memory_limit", "0", "--data.num_workers", "2"]
    for name, options in {"a": [], "b": streamed, "c": ["--data.flip", "true"]}.items():
        assert main([*command, *options, "--run_dir", str(tmp_path / name)]) == 0
    a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_an_unknown_value_of_flip_is_refused(
    image_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--data", str(image_root), *TINY_RUN, "--data.flip", "sometimes"]) == 2
    assert "flip" in capsys.readouterr().err
