"""EXIF orientation in every format, mode and orientation, against a picture made by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from vision_attn.data.io.image import open_image, upright_size

# The stored pixels of an upright picture, for each orientation (EXIF 2.32, table 6).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),  # shown after a turn to the right
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
MODES = {
    "tif": ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "LA"],
    "png": ["1", "L", "P", "RGB", "RGBA", "I;16", "LA"],
    "jpg": ["L", "RGB", "CMYK"],
    "webp": ["RGB", "RGBA"],
}
CASES = [(suffix, mode) for suffix, modes in MODES.items() for mode in modes]
COMPRESSIONS = [None, "tiff_lzw", "packbits", "tiff_adobe_deflate"]


def upright_picture() -> np.ndarray:
    """Gray blocks (48, 80): white in the upper left, gray in the upper right, black below."""
    picture = np.zeros((48, 80), np.uint8)
    picture[:16, :32] = 255
    picture[:16, 64:] = 128
    return picture


def stored_image(mode: str, orientation: int) -> Image.Image:
    """The picture as a camera stores it with this orientation."""
    gray = np.ascontiguousarray(STORED[orientation](upright_picture()))
    if mode == "I;16":
        return Image.fromarray(gray.astype(np.uint16) * 257)
    if mode in ("I", "F"):
        return Image.fromarray(gray.astype(np.int32 if mode == "I" else np.float32))
    if mode == "1":
        return Image.fromarray(gray).point(lambda value: 255 * (value > 127), "1")
    image = Image.fromarray(gray)
    return image.convert("P") if mode == "P" else image.convert("RGB").convert(mode)


def saved(path: Path, mode: str, orientation: int, **options: object) -> Path:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored_image(mode, orientation).save(path, exif=exif, **options)
    return path


def check(path: Path, mode: str) -> None:
    expected = upright_picture()
    if mode == "1":
        expected = np.where(expected > 127, 255, 0)
    found = np.asarray(open_image(path))[..., 1].astype(int)
    tolerance = 12 if path.suffix in (".jpg", ".webp") else 2
    assert found.shape == expected.shape
    # The borders of the blocks are softer in formats that lose something.
    difference = np.abs(found - expected)
    assert np.median(difference) <= tolerance
    assert (difference > tolerance).mean() < 0.03
    assert upright_size(path) == (80, 48)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("suffix", "mode"), CASES)
def test_formats_and_modes(suffix: str, mode: str, orientation: int, tmp_path: Path) -> None:
    check(saved(tmp_path / f"image.{suffix}", mode, orientation), mode)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_compressions_of_tiff(
    mode: str, compression: str | None, orientation: int, tmp_path: Path
) -> None:
    check(saved(tmp_path / "image.tif", mode, orientation, compression=compression), mode)
