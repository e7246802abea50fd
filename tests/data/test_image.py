"""Reading image files: formats and modes, damaged files, and training with damaged files."""

import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.conftest import TINY_RUN, write_images
from vision_attn.cli.main import main
from vision_attn.core.errors import UserError
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.io import image as reader
from vision_attn.data.io.image import (
    is_readable,
    open_image,
    read_image,
    stored_size,
    upright_size,
)
from vision_attn.data.sources.image_folder import ImageFolder


def pixels(path: Path) -> np.ndarray:
    return np.asarray(open_image(path)).astype(int)


def png(width: int, height: int, bits: int, color_type: int, raw: bytes) -> bytes:
    """A PNG by its specification: bits per channel, color type, and rows with filter bytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


class TestFormats:
    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff", "gif"])
    def test_every_format(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"image.{suffix}"
        options = {"lossless": True} if suffix == "webp" else {}
        Image.new("RGB", (6, 4), (255, 0, 0)).save(path, **options)
        assert pixels(path).shape == (4, 6, 3)
        assert np.abs(pixels(path) - [255, 0, 0]).max() <= (3 if suffix == "jpg" else 0)

    def test_the_file_extension_does_not_matter(self, tmp_path: Path) -> None:
        Image.new("RGB", (6, 4)).save(tmp_path / "image.png")
        (tmp_path / "image.png").rename(tmp_path / "image.jpg")
        assert read_image(tmp_path / "image.jpg", 8).shape == (3, 8, 8)

    def test_a_format_that_may_start_programs_is_refused(self, tmp_path: Path) -> None:
        Image.new("RGB", (6, 4)).save(tmp_path / "image.eps")
        (tmp_path / "image.eps").rename(tmp_path / "image.png")
        with pytest.raises(OSError, match=r"image\.png is not an image in a supported format"):
            open_image(tmp_path / "image.png")

    def test_gray_one_bit_and_ycbcr(self, tmp_path: Path) -> None:
        Image.new("L", (2, 2), 77).save(tmp_path / "gray.png")
        assert (pixels(tmp_path / "gray.png") == 77).all()
        Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
        assert pixels(tmp_path / "bits.png")[0].tolist() == [[255] * 3, [0] * 3]
        Image.new("YCbCr", (8, 8), (150, 128, 128)).save(tmp_path / "ycbcr.jpg")
        assert np.abs(pixels(tmp_path / "ycbcr.jpg") - 150).max() <= 2

    def test_transparent_parts_are_blended_with_white(self, tmp_path: Path) -> None:
        """Gray 100 at half opacity over white is 177.5; transparent pixels are white."""
        row = np.array([[[100, 255], [100, 128], [100, 0]]], dtype=np.uint8)
        Image.fromarray(row, "LA").save(tmp_path / "la.png")
        assert np.abs(pixels(tmp_path / "la.png")[0, :, 0] - [100, 177, 255]).max() <= 1
        rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 128], [0, 0, 0, 0]]], dtype=np.uint8)
        for name in ("rgba.png", "rgba.tiff"):
            Image.fromarray(rgba).save(tmp_path / name)
            expected = [[255, 0, 0], [255, 127, 127], [255, 255, 255]]
            assert np.abs(pixels(tmp_path / name)[0] - expected).max() <= 1

    def test_a_palette_with_a_transparent_color(self, tmp_path: Path) -> None:
        image = Image.new("P", (3, 1))
        image.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
        image.putdata([0, 1, 2])
        for name in ("palette.png", "palette.gif"):
            image.save(tmp_path / name, transparency=2)
            read = pixels(tmp_path / name)[0].tolist()
            assert read == [[10, 20, 30], [200, 100, 50], [255, 255, 255]]

    def test_the_first_of_several_frames_is_read(self, tmp_path: Path) -> None:
        frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue", "lime")]
        for name in ("a.gif", "a.png", "a.webp", "a.tiff"):
            options = {"lossless": True} if name.endswith("webp") else {}
            frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
            assert pixels(tmp_path / name)[0, 0].tolist() == [255, 0, 0]

    def test_cmyk(self, tmp_path: Path) -> None:
        """Full cyan removes all red; full black removes everything."""
        image = Image.new("CMYK", (16, 8), (255, 0, 0, 0))
        image.paste((0, 0, 0, 255), (8, 0, 16, 8))
        image.save(tmp_path / "ink.tiff")
        assert pixels(tmp_path / "ink.tiff")[0, 0].tolist() == [0, 255, 255]
        assert pixels(tmp_path / "ink.tiff")[0, 15].tolist() == [0, 0, 0]
        image.save(tmp_path / "ink.jpg", quality=95)
        assert np.abs(pixels(tmp_path / "ink.jpg")[0, 0] - [0, 255, 255]).max() <= 6


class TestDeepImages:
    def test_16_bit_gray_values_by_hand(self, tmp_path: Path) -> None:
        """A 16-bit value v becomes v / 257; clipping would make nearly all of them white."""
        values = [0, 257, 25700, 32768, 65535]
        raw = b"\0" + struct.pack(">5H", *values)
        (tmp_path / "deep.png").write_bytes(png(5, 1, 16, 0, raw))
        Image.fromarray(np.array([values], dtype=np.uint16)).save(tmp_path / "deep.tiff")
        for name in ("deep.png", "deep.tiff"):
            assert pixels(tmp_path / name)[0, :, 0].tolist() == [0, 1, 100, 128, 255]

    def test_16_bit_colors(self, tmp_path: Path) -> None:
        raw = b"\0" + struct.pack(">3H", 65535, 32768, 0)
        (tmp_path / "deep.png").write_bytes(png(1, 1, 16, 2, raw))
        assert pixels(tmp_path / "deep.png")[0, 0].tolist() == [255, 128, 0]

    def test_32_bit_and_float_images_are_stretched(self, tmp_path: Path) -> None:
        """Neither has a standard white: the darkest pixel becomes black, the lightest white."""
        for name, values in (
            ("float", np.array([[-2, 0, 2, np.nan, np.inf]], dtype=np.float32)),
            ("integer", np.array([[-(2**31), 0, 2**31 - 1, -(2**31), -(2**31)]], dtype=np.int32)),
        ):
            path = tmp_path / f"{name}.tiff"
            Image.fromarray(values).save(path)
            assert pixels(path)[0, :, 0].tolist() == [0, 128, 255, 0, 0]

    def test_constant_images_are_black(self, tmp_path: Path) -> None:
        for value in (3.5, np.nan):
            Image.fromarray(np.full((2, 2), value, np.float32)).save(tmp_path / "flat.tiff")
            assert (pixels(tmp_path / "flat.tiff") == 0).all()


def test_a_very_long_side_is_refused(tmp_path: Path) -> None:
    """Few pixels, but to resize it would take 32 bytes per pixel of its longer side."""
    for size in ((2**20 + 1, 1), (1, 2**20 + 1)):
        Image.new("1", size).save(tmp_path / "line.png")
        with pytest.raises(OSError, match=r"line\.png: .* a side of more than 1,048,576 pixels"):
            read_image(tmp_path / "line.png", 8)
    Image.new("1", (2**20, 1)).save(tmp_path / "line.png")
    assert read_image(tmp_path / "line.png", 8).shape == (3, 8, 8)


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_all_eight_exif_orientations(self, orientation: int, tmp_path: Path) -> None:
        """An image stored in each orientation is read upright."""
        upright = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10).convert("RGB")
        transposes = {
            2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
            6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270",
        }  # fmt: skip
        stored = upright
        if orientation > 1:
            stored = upright.transpose(Image.Transpose[transposes[orientation]])
        exif = Image.Exif()
        exif[0x0112] = orientation
        for name in ("rotated.png", "rotated.tiff"):
            stored.save(tmp_path / name, exif=exif)
            assert (pixels(tmp_path / name) == np.asarray(upright)).all()
            assert upright_size(tmp_path / name) == (6, 4)
            assert stored_size(tmp_path / name) == (stored.size, orientation)

    def test_a_rotated_photo(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (80, 40)).save(tmp_path / "rotated.jpg", exif=exif)
        assert open_image(tmp_path / "rotated.jpg").size == (40, 80)

    def test_an_image_with_damaged_exif_data_is_read(self, tmp_path: Path) -> None:
        exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x09\0\xff\xff\xff\xff\x06\0\0\0 garbage"
        Image.new("RGB", (8, 4)).save(tmp_path / "odd.jpg", exif=exif)
        assert open_image(tmp_path / "odd.jpg").size == (8, 4)


class TestLargeImages:
    def test_a_large_jpeg_is_decoded_at_a_reduced_size(self, tmp_path: Path) -> None:
        image = Image.new("RGB", (1600, 1200), "navy")
        ImageDraw.Draw(image).ellipse((300, 200, 1300, 1000), fill="orange")
        image.save(tmp_path / "large.jpg")
        assert open_image(tmp_path / "large.jpg", side=64).size == (200, 150)
        assert open_image(tmp_path / "large.jpg", side=700).size == (1600, 1200)
        full = reader.to_tensor(open_image(tmp_path / "large.jpg"), 64)
        reduced = read_image(tmp_path / "large.jpg", 64)
        difference = (full.float() - reduced.float()).abs()
        assert difference.mean() < 1
        assert difference.max() < 40  # at the ellipse's edge

    def test_a_large_image_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reader, "LARGE", 10)  # pixels: decode one image at a time
        write_images(tmp_path, 1, 0)
        assert read_image(tmp_path / "000.png", 8).shape == (3, 8, 8)

    def test_a_decompression_bomb_is_refused(self, tmp_path: Path) -> None:
        bomb = tmp_path / "bomb.png"
        for side in (10_000, 60_000):  # below and above the limit at which Pillow itself refuses
            bomb.write_bytes(png(side, side, 8, 2, b""))
            with pytest.raises(OSError, match=r"bomb\.png: .*pixels"):
                read_image(bomb, 64)


class TestDamagedFiles:
    def test_other_files_are_refused(self, tmp_path: Path) -> None:
        for name, content in (("text.png", b"hello"), ("empty.jpg", b"")):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(OSError, match=f"{name} is not an image"):
                read_image(tmp_path / name, 8)
            assert not is_readable(tmp_path / name)
        with pytest.raises(OSError, match=r"none\.png: there is no such file"):
            read_image(tmp_path / "none.png", 8)
        with pytest.raises(OSError, match="there is no such file"):
            read_image(tmp_path, 8)

    def test_a_pipe_does_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(OSError, match=r"pipe\.png"):
            read_image(tmp_path / "pipe.png", 8)

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff", "gif"])
    def test_truncated_files_are_refused(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"cut.{suffix}"
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(OSError, match=rf"cut\.{suffix}"):
            read_image(path, 8)

    @pytest.mark.parametrize(
        "raised",
        [
            SyntaxError("broken"), ValueError(), struct.error("unpack"), zlib.error("-3"),
            MemoryError(), RecursionError(), KeyError("tag"), Image.DecompressionBombError("big"),
        ],
    )  # fmt: skip
    def test_any_exception_of_pillow_becomes_an_os_error(
        self, raised: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise raised

        write_images(tmp_path, 1, 0)
        monkeypatch.setattr(Image.Image, "convert", fail)
        with pytest.raises(OSError, match=r"000\.png: ."):
            read_image(tmp_path / "000.png", 8)


class TestTrainingWithDamagedFiles:
    """Up to a fraction of damaged files is left out; beyond it, the error says what to do."""

    @staticmethod
    def damage(folder: Path, count: int) -> list[Path]:
        files = sorted(folder.iterdir())[:count]
        for file in files:
            file.write_bytes(file.read_bytes()[:400])
        return files

    @pytest.mark.parametrize("memory_limit", [0, 2**30])
    def test_up_to_the_fraction_they_are_left_out(
        self, memory_limit: int, image_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (bad,) = self.damage(image_root / "train" / "red", 1)
        command = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "run"), *TINY_RUN]
        command += ["--trainer.max_epochs", "2", "--data.memory_limit", str(memory_limit)]
        assert main(command) == 0
        assert capfd.readouterr().err.count(f"left out, unreadable: {bad}") == 1

    @pytest.mark.parametrize("memory_limit", [0, 2**30])
    def test_beyond_the_fraction_training_stops(
        self, memory_limit: int, image_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        bad = self.damage(image_root / "train" / "red", 5)
        command = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "run"), *TINY_RUN]
        command += ["--trainer.max_epochs", "2", "--data.memory_limit", str(memory_limit)]
        assert main(command) == 2
        output = capfd.readouterr().err
        message = output[output.index("vision-attn: ") :].strip()
        assert "of 32 images cannot be read" in message
        assert len(message.splitlines()) == 2
        assert "--data.max_unreadable 0.05" in message
        assert sum(str(file) in output for file in bad) >= 2
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        assert main([*command, "--data.max_unreadable", "0.2"]) == 0

    def test_a_split_that_is_read_later_counts_as_well(self, image_root: Path) -> None:
        self.damage(image_root / "test" / "red", 2)
        data = ImageDataModule(ImageFolder(str(image_root)), image_size=32)
        data.setup("fit")
        with pytest.raises(UserError, match="2 of 32 images cannot be read"):
            data.store("test")

    def test_an_invalid_fraction_is_refused(self, image_root: Path) -> None:
        with pytest.raises(UserError, match="max_unreadable must be between 0 and 1"):
            ImageDataModule(ImageFolder(str(image_root)), max_unreadable=5)

    def test_a_test_batch_without_readable_images_is_empty(self, image_root: Path) -> None:
        self.damage(image_root / "test" / "red", 1)
        data = ImageDataModule(
            ImageFolder(str(image_root)), batch_size=1, num_workers=0, memory_limit=0
        )
        sizes = [len(targets) for _, targets in data.test_dataloader()]
        assert sorted(sizes) == [0, *[1] * 7]
        assert data.store("test").unreadable != []
