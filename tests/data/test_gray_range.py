"""Grayscale of more than 8 bits: every way that TIFF and PNG have to say it, and one range for all.

The files are made by Pillow, or written here tag by tag as TIFF 6.0 describes them.
"""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import TINY_RUN
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.data.choose_gray_range import choose_gray_range
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.io.gray_range import GrayRange
from vision_attn.data.io.image import open_image
from vision_attn.data.io.object_masks import open_mask
from vision_attn.data.sources.image_folder import ImageFolder
from vision_attn.inference.trained_model import load
from vision_attn.runs.folder import RunFolder
from vision_attn.training.restore import evaluation_data

SHAPE = (5, 7)
Tags = dict[int, tuple[int, ...] | bytes]


def write_tiff(path: Path, values: NDArray[np.generic], tags: Tags) -> Path:
    """Write an uncompressed little-endian TIFF of one strip, (H, W) or (H, W, channels)."""
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    bits = (8 * values.dtype.itemsize,) * channels
    all_tags: Tags = {
        256: (width,), 257: (height,), 258: bits, 259: (1,), 262: (1,), 273: (0,),
        277: (channels,), 278: (height,), 279: (len(data),),
    } | tags  # fmt: skip
    entries, extra = [], b""
    start = 8 + 2 + 12 * len(all_tags) + 4
    for number, value in sorted(all_tags.items()):
        packed = value if isinstance(value, bytes) else struct.pack(f"<{len(value)}I", *value)
        kind = 2 if isinstance(value, bytes) else 4
        count = len(value)
        if number == 273:
            entries.append((number, 4, 1, None))
            continue
        if len(packed) > 4:
            offset = start + len(extra)
            extra += packed
            packed = struct.pack("<I", offset)
        entries.append((number, kind, count, packed.ljust(4, b"\0")))
    data_at = struct.pack("<I", start + len(extra))
    listed = b"".join(struct.pack("<HHI", n, k, c) + (v or data_at) for n, k, c, v in entries)
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries))
    path.write_bytes(head + listed + struct.pack("<I", 0) + extra + data)
    return path


def ramp(dtype: type, low: float, high: float) -> NDArray[np.generic]:
    """Values that rise from `low` to `high`, (5, 7)."""
    return np.linspace(low, high, 35).reshape(SHAPE).astype(dtype)


def read(path: Path, gray_range: GrayRange | None = None) -> NDArray[np.int64]:
    """Gray values of the image that is read, (5, 7); its three channels must be equal."""
    pixels = np.asarray(open_image(path, gray_range=gray_range)).astype(int)
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0]


RISING = np.rint(np.linspace(0, 255, 35)).reshape(SHAPE)
SIGNED, FLOAT = {339: (2,)}, {339: (3,)}


class TestEveryWayToSayBlackAndWhite:
    @pytest.mark.parametrize(
        ("values", "tags", "gray_range"),
        [
            (ramp(np.uint16, 0, 65535), {}, None),
            (ramp(np.uint16, 0, 4095), {}, GrayRange(0, 4095)),
            (ramp(np.uint16, 0, 4095), {280: (0,), 281: (4095,)}, GrayRange(0, 4095)),
            (ramp(np.int16, -1000, 3000), SIGNED, GrayRange(-1000, 3000)),
            (ramp(np.int16, -32768, 32767), SIGNED, None),
            (ramp(np.uint32, 0, 2**32 - 1), {}, None),
            (ramp(np.uint32, 0, 2**32 - 1), {}, GrayRange(0, 2**32 - 1)),
            (ramp(np.int32, -(2**31), 2**31 - 1), SIGNED, None),
            (ramp(np.float32, -0.5, 1.5), FLOAT, None),
            (ramp(np.float32, 0, 0.01), FLOAT, GrayRange(0, 0.01)),
            (ramp(np.int8, -128, 127), SIGNED, None),
            (ramp(np.uint8, 0, 255), {}, GrayRange(0, 4095)),
        ],
    )
    def test_values_rise_from_black_to_white(
        self, tmp_path: Path, values: NDArray[np.generic], tags: Tags, gray_range: GrayRange | None
    ) -> None:
        rising = write_tiff(tmp_path / "a.tif", values, tags)
        assert abs(read(rising, gray_range) - RISING).max() <= 1

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_zero_may_be_white(self, tmp_path: Path, dtype: type) -> None:
        values = ramp(dtype, 0, np.iinfo(dtype).max)
        inverted = write_tiff(tmp_path / "a.tif", values, {262: (0,)})
        assert abs(read(inverted) - RISING[::-1, ::-1]).max() <= 1

    def test_zero_may_be_white_where_data_is_missing(self, tmp_path: Path) -> None:
        values = ramp(np.float32, 0, 1)
        tags = FLOAT | {262: (0,), 42113: b"-9999\0"}
        inverted = write_tiff(tmp_path / "a.tif", values, tags)
        assert abs(read(inverted, GrayRange(0, 1)) - RISING[::-1, ::-1]).max() <= 1

    def test_missing_data_is_black_and_does_not_set_the_range(self, tmp_path: Path) -> None:
        values = ramp(np.float32, 100, 300)
        values[2, 3] = -9999
        path = write_tiff(tmp_path / "a.tif", values, {339: (3,), 42113: b"-9999\0"})
        expected = RISING.copy()
        expected[2, 3] = 0
        assert abs(read(path) - expected).max() <= 1

    def test_values_beyond_the_range_are_clipped(self, tmp_path: Path) -> None:
        values = np.array([[0, 99, 100, 150, 200, 201, 65535]], np.uint16)
        found = read(write_tiff(tmp_path / "a.tif", values, {}), GrayRange(100, 200))
        assert found.tolist() == [[0, 0, 0, 128, 255, 255, 255]]


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "tags", "said"),
        [
            (np.zeros((*SHAPE, 5), np.uint8), {}, "a TIFF of 5 channels of 8 bits (unsigned)"),
            (np.zeros((*SHAPE, 2), np.uint8), {338: (0,)}, "a TIFF of 2 channels"),
            (
                np.zeros((*SHAPE, 4), np.uint8),
                {262: (2,), 338: (0,)},
                "a TIFF of 4 channels, of which one is not color",
            ),
            (ramp(np.float64, 0, 1), FLOAT, "a TIFF of 1 channel of 64 bits (float)"),
            (ramp(np.float16, 0, 1), FLOAT, "a TIFF of 1 channel of 16 bits (float)"),
            (ramp(np.uint64, 0, 9), {}, "a TIFF of 1 channel of 64 bits (unsigned)"),
            (
                np.zeros((*SHAPE, 3), np.uint16),
                {262: (2,), 284: (2,)},
                "a TIFF of 3 separate planes of 16 bits",
            ),
        ],
    )
    def test_what_cannot_be_read_is_named(
        self, tmp_path: Path, values: NDArray[np.generic], tags: Tags, said: str
    ) -> None:
        path = write_tiff(tmp_path / "a.tif", values, tags)
        with pytest.raises(OSError, match="1, 3 or 4 channels") as caught:
            open_image(path)
        assert f"{path}: {said}" in str(caught.value)


def xrays(root: Path, scale: int = 1, count: int = 12) -> Path:
    """12-bit images of two classes, in files of 16 bits: about 1500, with a spot in the ill."""
    for label in ("ill", "well"):
        (root / label).mkdir(parents=True)
        for number in range(count):
            values = np.random.default_rng(number).normal(1500, 6, (24, 24))
            if label == "ill":
                values[4:14, number % 10 : number % 10 + 10] += 90
            Image.fromarray((values * scale).astype(np.uint16)).save(root / label / f"{number}.tif")
    return root


class TestChoice:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0, 200], (0, 255)),
            ([0, 256], (0, 1023)),
            ([90, 1590], (0, 4095)),
            ([0, 9000], (0, 16383)),
            ([0, 16384], (0, 65535)),
        ],
    )
    def test_the_white_of_16_bits_is_that_of_the_smallest_depth(
        self, tmp_path: Path, values: list[int], expected: tuple[int, int]
    ) -> None:
        path = tmp_path / "a.png"
        Image.fromarray(np.array([values], np.uint16)).save(path)
        assert choose_gray_range([str(path)]).gray_range == expected

    def test_dead_pixels_do_not_count(self, tmp_path: Path) -> None:
        paths = []
        for number in range(4):
            values = np.full((100, 100), 1500, np.uint16)
            values[0, 0] = 65535 if number == 0 else 1500  # 1 of 40,000
            paths.append(str(tmp_path / f"{number}.png"))
            Image.fromarray(values).save(paths[-1])
        assert choose_gray_range(paths).gray_range == (0, 4095)

    def test_signed_and_float_images_take_the_range_of_their_values(self, tmp_path: Path) -> None:
        paths = [
            str(write_tiff(tmp_path / f"{k}.tif", ramp(np.int16, -k, 9 * k), SIGNED))
            for k in (1, 3)
        ]
        chosen = choose_gray_range(paths)
        assert chosen.gray_range == (-3, 27)
        assert "-3 is black and 27 is white" in chosen.line

    def test_usual_images_need_no_range(self, tmp_path: Path) -> None:
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        (tmp_path / "b.png").write_bytes(b"damaged")
        paths = [str(tmp_path / name) for name in ("a.png", "b.png", "missing.jpg")]
        assert choose_gray_range(paths) == (None, "")

    def test_mixtures_are_refused_and_can_be_set(self, tmp_path: Path) -> None:
        for label, values, tags in (
            ("a", ramp(np.uint16, 0, 900), {}),
            ("b", ramp(np.float32, 0, 900), FLOAT),
        ):
            (tmp_path / label).mkdir()
            for number in range(3):
                write_tiff(tmp_path / label / f"{number}.tif", values, tags)
        source = ImageFolder(str(tmp_path))
        with pytest.raises(UserError, match=r"3 images of 16-bit .* 3 of signed, 32-bit or float"):
            _ = ImageDataModule(source).splits
        data = ImageDataModule(source, gray_range=[0, 900])
        assert all((split.read(0, 7).max() == 255).all() for split in data.splits.values())

    def test_dark_16_bit_color_is_refused(self, tmp_path: Path) -> None:
        values = np.full((*SHAPE, 3), 4095, np.uint16)
        dark = write_tiff(tmp_path / "a.tif", values, {262: (2,)})
        with pytest.raises(UserError, match="use 12 of them at most"):
            choose_gray_range([str(dark)])
        bright = write_tiff(tmp_path / "b.tif", values * 16, {262: (2,)})
        assert choose_gray_range([str(dark), str(bright)]) == (None, "")

    @pytest.mark.parametrize("given", [[5, 5], [9, 1], [0, float("nan")], [1], [0, 1, 2]])
    def test_settings_that_make_no_sense_are_refused(
        self, tmp_path: Path, given: list[float]
    ) -> None:
        with pytest.raises(UserError, match=r"--data.gray_range needs|must be two numbers"):
            ImageDataModule(ImageFolder(str(xrays(tmp_path))), gray_range=given)


def test_fit_predict_and_check_read_12_bits_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, run = xrays(tmp_path / "p12"), tmp_path / "run"
    words = ["fit", "--data", str(photos), "--run_dir", str(run), *TINY_RUN, "--epochs", "1"]
    assert main(words) == 0
    assert "0 is black and 4095 is white" in capsys.readouterr().out
    assert json.loads((run / "model.json").read_text())["gray_range"] == [0, 4095]
    assert "gray_range:\n  - 0\n  - 4095" in (run / "config.yaml").read_text()
    model = load(run)
    (batch,) = model.batches(sorted((photos / "ill").iterdir()), 64)
    data = ImageDataModule(ImageFolder(str(photos)), image_size=model.spec.image_size)
    for image in batch:
        name = str(image.path)
        split = next(split for split in data.splits.values() if name in split.names)
        assert torch.equal(image.pixels, split.read(split.names.index(name), model.spec.image_size))
        assert int(image.pixels.max()) - int(image.pixels.min()) >= 5  # of a spot of 90 / 4095
    restored, stage = evaluation_data(RunFolder(run))  # what `test` and `evaluate` read
    for index, name in enumerate(restored.split(stage).names):
        same = data.splits["test"].names.index(name)
        assert torch.equal(
            restored.split(stage).read(index, 32), data.splits["test"].read(same, 32)
        )
    assert main(["check", str(photos)]) == 0
    assert "single color" not in capsys.readouterr().out


def test_doubtful_images_are_named_once(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model was trained on 8 bits; 12-bit images would be black for it."""
    assert main(["predict", str(run), str(xrays(tmp_path / "p12", count=2))]) == 0
    said = capsys.readouterr().err
    assert "0.tif has more than 8 bits, unlike the training images; 65535 is read as white" in said
    assert "3 more images may look unlike training images" in said


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_masks_of_16_bits_are_not_empty(tmp_path: Path, white: int) -> None:
    values = np.zeros((6, 6), np.uint16)
    values[:3] = white
    Image.fromarray(values).save(tmp_path / "m.png")
    assert np.asarray(open_mask(tmp_path / "m.png"))[:, 0].tolist() == [255] * 3 + [0] * 3
