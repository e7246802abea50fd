"""Disk cache of decoded images: never stale, written atomically, and no effect on training."""

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
from vision_attn.data.io.cache import cache_key, load_or_decode
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
    """A function that reads the images through the cache."""

    def images(folder: str = "cache") -> Tensor:
        split = split_of_files(files, ["a"] * len(files))
        return load_or_decode(tmp_path / folder, split, SIZE, "reading").images.clone()

    return images


def decoded_directly(files: list[Path]) -> Tensor:
    split = split_of_files(files, ["a"] * len(files))
    return torch.stack([split.read(k, SIZE) for k in range(len(files))])


def cache_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").glob("*.images"))


def test_a_second_read_comes_from_the_cache(files: list[Path], read: Read, tmp_path: Path) -> None:
    assert torch.equal(read(), decoded_directly(files))
    (stored,) = cache_files(tmp_path)
    written = stored.stat().st_mtime_ns
    assert torch.equal(read(), decoded_directly(files))
    assert stored.stat().st_mtime_ns == written  # the images were not decoded again


def test_a_changed_file_is_decoded_again(files: list[Path], read: Read, tmp_path: Path) -> None:
    """Even if its length is the same and its mtime was set back."""
    read()
    before = files[2].stat()
    content = bytearray(files[3].read_bytes())
    content += bytes(max(before.st_size - len(content), 0))
    files[2].write_bytes(content)
    os.utime(files[2], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert torch.equal(read(), decoded_directly(files))
    assert len(cache_files(tmp_path)) == 2


def test_the_cache_key_depends_on_everything_that_the_images_depend_on(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    split = split_of_files(files, ["a"] * len(files))
    keys = {
        cache_key(split, 11),
        cache_key(split, 13),
        cache_key(split_of_files(files[1:], ["a"] * 6), 11),
    }
    monkeypatch.setattr("PIL.__version__", "0")
    keys.add(cache_key(split, 11))
    monkeypatch.setattr(cache.image, "__file__", __file__)
    keys.add(cache_key(split, 11))
    assert len(keys) == 5


@pytest.mark.parametrize("position", [0, 40, -1])
def test_a_damaged_file_is_written_again(
    files: list[Path], read: Read, tmp_path: Path, position: int
) -> None:
    read()
    (stored,) = cache_files(tmp_path)
    content = stored.read_bytes()
    damaged = bytearray(content)
    damaged[position] ^= 1
    for wrong in (bytes(damaged), content[:-9], b""):
        stored.write_bytes(wrong)
        assert torch.equal(read(), decoded_directly(files))
        assert stored.read_bytes() == content


def test_temporary_files_of_killed_processes_are_removed(read: Read, tmp_path: Path) -> None:
    read()
    (stored,) = cache_files(tmp_path)
    left = stored.with_name(f".{stored.name}.half")
    left.write_bytes(b"half")
    stored.unlink()
    read()
    assert left.exists()  # another process may be writing it now
    os.utime(left, (0, 0))
    stored.unlink()
    read()
    assert not left.exists()


def test_unreadable_files_are_reported_each_time(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files[4].write_bytes(files[4].read_bytes()[:90])
    split = split_of_files(files, ["a"] * len(files))
    for _ in range(2):
        decoded = load_or_decode(tmp_path / "cache", split, SIZE, "reading")
        store = InMemoryDataset(split, range(7), SIZE, decoded)
        assert (len(store), store.unreadable) == (6, [4])
        assert f"left out, unreadable: {files[4]}" in capsys.readouterr().err
        images, targets = store.__getitems__([3, 4])
        assert targets.tolist() == [3, 5]
        assert torch.equal(images, decoded_directly([files[3], files[5]]))


@pytest.mark.parametrize("locks", [True, False])
def test_eight_concurrent_processes(
    files: list[Path], read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    """With file locks, and on a file system without them."""
    if not locks:
        monkeypatch.setattr(cache, "FileLock", lambda _: nullcontext())
    expected = decoded_directly(files)
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


def test_an_unwritable_folder_is_an_error(files: list[Path], tmp_path: Path) -> None:
    split = split_of_files(files, ["a"] * len(files))
    with pytest.raises(UserError, match=r"--data.cache: .* cannot be written \(Not a directory\)"):
        load_or_decode(files[0] / "cache", split, SIZE, "reading")


def test_decoding_stops_soon_after_the_iterator_is_closed() -> None:
    """As after Ctrl-C, or if the disk is full."""
    read_indices = []

    def read(index: int, size: int) -> Tensor:
        read_indices.append(index)
        time.sleep(0.002)
        return torch.zeros(3, size, size, dtype=torch.uint8)

    images = decode(Split([""] * 2000, [""] * 2000, read), 2, "reading")
    next(images)
    images.close()
    assert len(read_indices) < 1000


def test_weights_are_the_same_with_and_without_cache(image_root: Path, tmp_path: Path) -> None:
    """With images in memory, from the cache, or streamed by two worker processes."""
    command = ["fit", "--data", str(image_root), *TINY_RUN, "--trainer.max_epochs", "2"]
    cache_option = ["--data.cache", str(tmp_path / "cache")]
    no_memory = ["--data.memory_limit", "0", "--data.num_workers"]
    runs = {"memory": [], "first": cache_option, "again": cache_option}
    runs |= {"mapped": [*cache_option, *no_memory, "2"], "streamed": [*no_memory, "2"]}
    for name, options in runs.items():
        assert main([*command, "--run_dir", str(tmp_path / name), *options]) == 0
    weights = [load_file(tmp_path / name / "model.safetensors") for name in runs]
    assert all(torch.equal(weights[0][k], other[k]) for other in weights[1:] for k in weights[0])
    assert len(cache_files(tmp_path)) == 3  # train, val and test
