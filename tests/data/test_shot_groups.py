"""Series of photographs: what was shot within a minute, or numbered in a row, stays together."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import write_images
from vision_attn.core.errors import UserError
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.shot_groups import shot_groups
from vision_attn.data.sources.image_folder import ImageFolder


def shoot(folder: Path, seconds: dict[str, int | None], tag: int = 36867) -> list[str]:
    """Photographs that were taken so many seconds after noon; None has no time."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, after in seconds.items():
        exif = Image.Exif()
        if after is not None:
            text = f"{datetime(2026, 5, 1, 12) + timedelta(seconds=after):%Y:%m:%d %H:%M:%S}"
            (exif.get_ifd(0x8769) if tag == 36867 else exif)[tag] = text
        Image.new("RGB", (8, 8)).save(folder / name, exif=exif)
    return [str(folder / name) for name in seconds]


def grouped(names: list[str]) -> set[frozenset[str]]:
    """The groups as sets of file names."""
    keys = shot_groups(names)
    return {
        frozenset(Path(n).name for n, k in zip(names, keys, strict=True) if k == key)
        for key in set(keys)
    }


@pytest.mark.parametrize("tag", [36867, 306])
def test_a_gap_of_more_than_a_minute_makes_a_group(tmp_path: Path, tag: int) -> None:
    names = shoot(
        tmp_path, {"x.jpg": 0, "c.jpg": 55, "a.jpg": 115, "b.jpg": 176, "d.jpg": 900}, tag
    )
    assert grouped(names) == {
        frozenset({"x.jpg", "c.jpg", "a.jpg"}), frozenset({"b.jpg"}), frozenset({"d.jpg"}),
    }  # fmt: skip


def test_times_count_more_than_numbers(tmp_path: Path) -> None:
    names = shoot(tmp_path, {"img_1.jpg": 0, "img_2.jpg": 500, "img_9.jpg": 510})
    assert grouped(names) == {frozenset({"img_1.jpg"}), frozenset({"img_2.jpg", "img_9.jpg"})}


def test_numbers_count_where_there_are_no_times(tmp_path: Path) -> None:
    names = shoot(
        tmp_path,
        dict.fromkeys(["cow_009.jpg", "cow_010.jpg", "cow_012.jpg", "pig_011.jpg", "new.jpg"]),
    )
    assert grouped(names) == {
        frozenset({"cow_009.jpg", "cow_010.jpg"}), frozenset({"cow_012.jpg"}),
        frozenset({"pig_011.jpg"}), frozenset({"new.jpg"}),
    }  # fmt: skip


def test_files_that_are_no_images_have_no_time(tmp_path: Path) -> None:
    (tmp_path / "a1.jpg").write_bytes(b"damaged")
    names = [str(tmp_path / "a1.jpg"), str(tmp_path / "a2.jpg")]
    assert grouped(names) == {frozenset({"a1.jpg", "a2.jpg"})}


def test_a_split_keeps_series_together(tmp_path: Path) -> None:
    for seed, label in enumerate("ab"):
        for start in range(0, 60, 6):
            for number in range(start, start + 3):
                write_images(tmp_path / label, 1, seed * 1000 + number)
                (tmp_path / label / "000.png").rename(tmp_path / label / f"img{number}.png")
    data = ImageDataModule(ImageFolder(str(tmp_path)), group="shots")
    side = {name: split for split, images in data.splits.items() for name in images.names}
    for label in "ab":
        for start in range(0, 60, 6):
            series = {side[str(tmp_path / label / f"img{n}.png")] for n in range(start, start + 3)}
            assert len(series) == 1
    assert "60 images in 20 groups by 'shots'" in data.related


def test_one_long_series_cannot_be_split(tmp_path: Path) -> None:
    for seed, label in enumerate("ab"):
        write_images(tmp_path / label, 12, seed)
    with pytest.raises(UserError, match="has 1 group"):
        _ = ImageDataModule(ImageFolder(str(tmp_path)), group="shots").splits
