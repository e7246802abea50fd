"""Splits can be pickled, and workers that are spawned (macOS, Windows) read what others read."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import TINY_RUN, write_images
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.io.object_masks import read_masks_of_files
from vision_attn.data.sources.base import ImageSource
from vision_attn.data.sources.cifar10 import PixelReader
from vision_attn.data.sources.image_folder import ImageFolder
from vision_attn.data.sources.image_table import ImageTable
from vision_attn.data.sources.shapes import Shapes
from vision_attn.data.split import Split, joined


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of six images each, a list of boxes, and a folder of masks."""
    rows = ["file,xmin,ymin,xmax,ymax"]
    for seed, name in enumerate("ab"):
        write_images(tmp_path / "photos" / name, 6, seed)
        rows += [f"{name}/{k:03d}.png,0,0,{k},3" for k in range(6)]
        (tmp_path / "masks" / name).mkdir(parents=True)
        for k in range(6):
            mask = np.zeros((8, 8), np.uint8)
            mask[: k + 1] = 255
            Image.fromarray(mask).save(tmp_path / "masks" / name / f"{k:03d}.png")
    (tmp_path / "photos" / "boxes.csv").write_text("\n".join(rows))
    lines = [f"{name}/{k:03d}.png,{name}" for name in "ab" for k in range(6)]
    (tmp_path / "photos" / "t.csv").write_text("\n".join(["path,label", *lines]))
    return tmp_path / "photos"


SOURCES: dict[str, Callable[[Path], ImageSource]] = {
    "folder": lambda photos: ImageFolder(str(photos)),
    "masks": lambda photos: ImageFolder(str(photos), truth=str(photos.parent / "masks")),
    "table": lambda photos: ImageTable(str(photos / "t.csv")),
    "boxes": lambda photos: ImageTable(str(photos / "t.csv"), truth=str(photos / "boxes.csv")),
    "shapes": lambda photos: Shapes(12, 6, 6),
}


def same_after_pickle(split: Split) -> None:
    """Check that names, labels, images and masks survive a round trip."""
    again = pickle.loads(pickle.dumps(split))
    assert (again.names, again.labels) == (split.names, split.labels)
    for index in range(len(split)):
        assert torch.equal(again.read(index, 16), split.read(index, 16))
        if split.read_mask is not None:
            assert torch.equal(again.read_mask(index, 16), split.read_mask(index, 16))
    assert (again.read_mask is None) == (split.read_mask is None)


@pytest.mark.parametrize("kind", SOURCES)
def test_splits_of_every_source_can_be_pickled(photos: Path, kind: str) -> None:
    data = ImageDataModule(SOURCES[kind](photos), gray_range=[0, 4095])
    for split in data.splits.values():
        same_after_pickle(split)
    train, val = data.splits["train"], data.splits["val"]
    same_after_pickle(joined(train, val))
    same_after_pickle(train.take(np.array([3, 1])))


def test_splits_of_pixels_in_memory_can_be_pickled() -> None:
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    same_after_pickle(Split([f"{k}" for k in range(5)], ["a"] * 5, PixelReader(pixels)))


@pytest.mark.parametrize("truth", [None, "boxes.csv", "../masks"])
def test_readers_of_masks_can_be_pickled(photos: Path, truth: str | None) -> None:
    read = read_masks_of_files(None if truth is None else photos / truth)
    files = sorted(photos.glob("*/*.png"))
    before = [read(file, 8, 8) for file in files]
    again = pickle.loads(pickle.dumps(read))
    assert any(mask.any() for mask in before)
    assert all(
        torch.equal(again(file, 8, 8), mask) for file, mask in zip(files, before, strict=True)
    )


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("kind", ["folder", "shapes"])
def test_workers_read_the_same_batches_however_they_start(
    photos: Path, kind: str, method: str
) -> None:
    def batches(workers: int) -> list[list[torch.Tensor]]:
        data = ImageDataModule(
            SOURCES[kind](photos), 4, 16, num_workers=workers, memory_limit=0, flip="alternate"
        )
        loader = data.loader("train", shuffle=True)
        if workers:
            loader.multiprocessing_context = method
        return list(loader)

    for here, there in zip(batches(0), batches(2), strict=True):
        assert all(map(torch.equal, here, there))


def test_training_streams_with_workers_that_are_spawned(photos: Path, tmp_path: Path) -> None:
    """From the command line, where the main module is imported again by each worker."""
    main = tmp_path / "main.py"
    main.write_text(
        "import multiprocessing, sys\n"
        "from vision_attn.cli.main import main\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method('spawn')\n"
        "    sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["fit", "--data", str(photos), "--run_dir", str(tmp_path / "run"), *TINY_RUN]
    words += ["--epochs", "1", "--data.memory_limit", "0", "--data.num_workers", "2"]
    done = subprocess.run(
        [sys.executable, str(main), *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "model.safetensors").is_file()
