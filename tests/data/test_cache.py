"""Decoded images on disk: never stale, whole or not there, and nothing that a training notices."""

import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.data.dataset import InMemoryDataset
from vision_attn.data.io import cache
from vision_attn.data.io.cache import cached, key_of
from vision_attn.data.io.decode import decode
from vision_attn.data.sources.files import split_of_files
from vision_attn.data.split import Split

SIZE = 11
Read = Callable[..., Tensor]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    write_images(tmp_path / "images", 7, 0)
    return sorted((tmp_path / "images").iterdir())


@pytest.fixture
def read(files: list[Path], tmp_path: Path) -> Read:
    """Reads the images through the cache."""

    def images(folder: str = "cache") -> Tensor:
        split = split_of_files(files, ["a"] * len(files))
        return cached(tmp_path / folder, split, SIZE, "reading").images.clone()

    return images


def direct(files: list[Path]) -> Tensor:
    split = split_of_files(files, ["a"] * len(files))
    return torch.stack([split.read(k, SIZE) for k in range(len(files))])


def held(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").glob("*.images"))


def test_what_was_read_is_read_again(files: list[Path], read: Read, tmp_path: Path) -> None:
    assert torch.equal(read(), direct(files))
    (place,) = held(tmp_path)
    written = place.stat().st_mtime_ns
    assert torch.equal(read(), direct(files))
    assert place.stat().st_mtime_ns == written  # it was not decoded again


def test_a_changed_file_is_read_anew(files: list[Path], read: Read, tmp_path: Path) -> None:
    """Even one of the same length whose time was set back."""
    read()
    before = files[2].stat()
    content = bytearray(files[3].read_bytes())
    content += bytes(max(before.st_size - len(content), 0))
    files[2].write_bytes(content)
    os.utime(files[2], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert torch.equal(read(), direct(files))
    assert len(held(tmp_path)) == 2


def test_the_name_hangs_on_all_that_the_images_hang_on(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    split = split_of_files(files, ["a"] * len(files))
    keys = {key_of(split, 11), key_of(split, 13), key_of(split_of_files(files[1:], ["a"] * 6), 11)}
    monkeypatch.setattr("PIL.__version__", "0")
    keys.add(key_of(split, 11))
    monkeypatch.setattr(cache.reader, "__file__", __file__)
    keys.add(key_of(split, 11))
    assert len(keys) == 5


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_damaged_file_is_made_anew(
    files: list[Path], read: Read, tmp_path: Path, place: int
) -> None:
    read()
    (stored,) = held(tmp_path)
    content = stored.read_bytes()
    damaged = bytearray(content)
    damaged[place] ^= 1
    for wrong in (bytes(damaged), content[:-9], b""):
        stored.write_bytes(wrong)
        assert torch.equal(read(), direct(files))
        assert stored.read_bytes() == content


def test_what_a_killed_process_left_is_removed(read: Read, tmp_path: Path) -> None:
    read()
    (stored,) = held(tmp_path)
    left = stored.with_name(f".{stored.name}.half")
    left.write_bytes(b"half")
    stored.unlink()
    read()
    assert left.exists()  # somebody may be writing it now
    os.utime(left, (0, 0))
    stored.unlink()
    read()
    assert not left.exists()


def test_unreadable_files_are_named_each_time(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files[4].write_bytes(files[4].read_bytes()[:90])
    split = split_of_files(files, ["a"] * len(files))
    for _ in range(2):
        store = InMemoryDataset(
            split, range(7), SIZE, cached(tmp_path / "cache", split, SIZE, "reading")
        )
        assert (len(store), store.unreadable) == (6, [4])
        assert f"left out, unreadable: {files[4]}" in capsys.readouterr().err
        images, targets = store.__getitems__([3, 4])
        assert targets.tolist() == [3, 5]
        assert torch.equal(images, direct([files[3], files[5]]))


@pytest.mark.parametrize("locks", [True, False])
def test_eight_processes_at_once(
    files: list[Path], read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    """Also on a file system without locks."""
    if not locks:
        monkeypatch.setattr(cache, "FileLock", lambda _: nullcontext())
    expected = direct(files)
    fork = multiprocessing.get_context("fork")
    ready = fork.Barrier(8)

    def work() -> None:
        torch.set_num_threads(1)
        for round in range(5):
            ready.wait(30)
            if not torch.equal(read(f"cache/{round}"), expected):
                os._exit(1)
        os._exit(0)

    processes = [fork.Process(target=work) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 8
    for round in range(5):
        assert torch.equal(read(f"cache/{round}"), expected)
        assert not list((tmp_path / "cache" / str(round)).glob(".*"))


def test_a_folder_that_cannot_be_written(files: list[Path], tmp_path: Path) -> None:
    split = split_of_files(files, ["a"] * len(files))
    with pytest.raises(UserError, match=r"--data.cache: .* cannot be written \(Not a directory\)"):
        cached(files[0] / "cache", split, SIZE, "reading")


def test_who_stops_early_is_not_kept_waiting() -> None:
    """As at Ctrl-C, or where the disk is full."""
    asked = []

    def read(index: int, size: int) -> Tensor:
        asked.append(index)
        time.sleep(0.002)
        return torch.zeros(3, size, size, dtype=torch.uint8)

    images = decode(Split([""] * 2000, [""] * 2000, read), 2, "reading")
    next(images)
    images.close()
    assert len(asked) < 1000


def test_the_same_weights_cached_or_not(image_root: Path, tmp_path: Path) -> None:
    """With no, or two, reader processes, and where memory holds no image."""
    words = ["fit", "--data", str(image_root), *TINY_RUN, "--trainer.max_epochs", "2"]
    place = ["--data.cache", str(tmp_path / "cache")]
    small = ["--data.memory_limit", "0", "--data.num_workers"]
    runs = {"memory": [], "first": place, "again": place}
    runs |= {"mapped": [*place, *small, "2"], "streamed": [*small, "2"]}
    for name, more in runs.items():
        assert main([*words, "--run_dir", str(tmp_path / name), *more]) == 0
    kept = [load_file(tmp_path / name / "model.safetensors") for name in runs]
    assert all(torch.equal(kept[0][k], other[k]) for other in kept[1:] for k in kept[0])
    assert len(held(tmp_path)) == 3  # train, val and test
