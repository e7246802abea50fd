"""The reader of image files: every kind, every fault, and how many faults a training bears."""

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


def png(width: int, height: int, bits: int, kind: int, raw: bytes) -> bytes:
    """A PNG by its specification: bits of a channel, kind of colour, rows with their filters."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


class TestKinds:
    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff", "gif"])
    def test_every_format(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"image.{suffix}"
        options = {"lossless": True} if suffix == "webp" else {}
        Image.new("RGB", (6, 4), (255, 0, 0)).save(path, **options)
        assert pixels(path).shape == (4, 6, 3)
        assert np.abs(pixels(path) - [255, 0, 0]).max() <= (3 if suffix == "jpg" else 0)

    def test_the_ending_of_a_name_says_nothing(self, tmp_path: Path) -> None:
        Image.new("RGB", (6, 4)).save(tmp_path / "image.png")
        (tmp_path / "image.png").rename(tmp_path / "image.jpg")
        assert read_image(tmp_path / "image.jpg", 8).shape == (3, 8, 8)

    def test_a_format_that_may_start_programs(self, tmp_path: Path) -> None:
        Image.new("RGB", (6, 4)).save(tmp_path / "image.eps")
        (tmp_path / "image.eps").rename(tmp_path / "image.png")
        with pytest.raises(OSError, match=r"image\.png is no image of a kind that is read"):
            open_image(tmp_path / "image.png")

    def test_grey_one_bit_and_hue(self, tmp_path: Path) -> None:
        Image.new("L", (2, 2), 77).save(tmp_path / "grey.png")
        assert (pixels(tmp_path / "grey.png") == 77).all()
        Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
        assert pixels(tmp_path / "bits.png")[0].tolist() == [[255] * 3, [0] * 3]
        Image.new("YCbCr", (8, 8), (150, 128, 128)).save(tmp_path / "hue.jpg")
        assert np.abs(pixels(tmp_path / "hue.jpg") - 150).max() <= 2

    def test_transparency_is_laid_over_white(self, tmp_path: Path) -> None:
        """Half of a grey 100 over white is 177.5; a clear place is white whatever its colour."""
        row = np.array([[[100, 255], [100, 128], [100, 0]]], dtype=np.uint8)
        Image.fromarray(row, "LA").save(tmp_path / "la.png")
        assert np.abs(pixels(tmp_path / "la.png")[0, :, 0] - [100, 177, 255]).max() <= 1
        rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 128], [0, 0, 0, 0]]], dtype=np.uint8)
        for name in ("rgba.png", "rgba.tiff"):
            Image.fromarray(rgba).save(tmp_path / name)
            wanted = [[255, 0, 0], [255, 127, 127], [255, 255, 255]]
            assert np.abs(pixels(tmp_path / name)[0] - wanted).max() <= 1

    def test_a_palette_with_a_clear_colour(self, tmp_path: Path) -> None:
        picture = Image.new("P", (3, 1))
        picture.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
        picture.putdata([0, 1, 2])
        for name in ("palette.png", "palette.gif"):
            picture.save(tmp_path / name, transparency=2)
            read = pixels(tmp_path / name)[0].tolist()
            assert read == [[10, 20, 30], [200, 100, 50], [255, 255, 255]]

    def test_of_several_frames_the_first(self, tmp_path: Path) -> None:
        frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue", "lime")]
        for name in ("a.gif", "a.png", "a.webp", "a.tiff"):
            options = {"lossless": True} if name.endswith("webp") else {}
            frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
            assert pixels(tmp_path / name)[0, 0].tolist() == [255, 0, 0]

    def test_cmyk(self, tmp_path: Path) -> None:
        """Full cyan takes all red away; black ink takes everything."""
        picture = Image.new("CMYK", (16, 8), (255, 0, 0, 0))
        picture.paste((0, 0, 0, 255), (8, 0, 16, 8))
        picture.save(tmp_path / "ink.tiff")
        assert pixels(tmp_path / "ink.tiff")[0, 0].tolist() == [0, 255, 255]
        assert pixels(tmp_path / "ink.tiff")[0, 15].tolist() == [0, 0, 0]
        picture.save(tmp_path / "ink.jpg", quality=95)
        assert np.abs(pixels(tmp_path / "ink.jpg")[0, 0] - [0, 255, 255]).max() <= 6


class TestDeepImages:
    def test_16_bit_greys_by_hand(self, tmp_path: Path) -> None:
        """A 16-bit value v is v / 257 of 8 bits: clipping would make all but the first white."""
        values = [0, 257, 25700, 32768, 65535]
        raw = b"\0" + struct.pack(">5H", *values)
        (tmp_path / "deep.png").write_bytes(png(5, 1, 16, 0, raw))
        Image.fromarray(np.array([values], dtype=np.uint16)).save(tmp_path / "deep.tiff")
        for name in ("deep.png", "deep.tiff"):
            assert pixels(tmp_path / name)[0, :, 0].tolist() == [0, 1, 100, 128, 255]

    def test_16_bit_colours(self, tmp_path: Path) -> None:
        raw = b"\0" + struct.pack(">3H", 65535, 32768, 0)
        (tmp_path / "deep.png").write_bytes(png(1, 1, 16, 2, raw))
        assert pixels(tmp_path / "deep.png")[0, 0].tolist() == [255, 128, 0]

    def test_32_bits_and_floats_are_spread(self, tmp_path: Path) -> None:
        """Neither has an agreed white: the darkest is black, the lightest white."""
        for name, values in (
            ("float", np.array([[-2, 0, 2, np.nan, np.inf]], dtype=np.float32)),
            ("whole", np.array([[-(2**31), 0, 2**31 - 1, -(2**31), -(2**31)]], dtype=np.int32)),
        ):
            path = tmp_path / f"{name}.tiff"
            Image.fromarray(values).save(path)
            assert pixels(path)[0, :, 0].tolist() == [0, 128, 255, 0, 0]

    def test_flat_ones_are_black(self, tmp_path: Path) -> None:
        for value in (3.5, np.nan):
            Image.fromarray(np.full((2, 2), value, np.float32)).save(tmp_path / "flat.tiff")
            assert (pixels(tmp_path / "flat.tiff") == 0).all()


class TestOrientation:
    @pytest.mark.parametrize("turned", range(1, 9))
    def test_all_eight(self, turned: int, tmp_path: Path) -> None:
        """A picture stored as each orientation says is upright again."""
        wanted = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10).convert("RGB")
        moves = {
            2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
            6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270",
        }  # fmt: skip
        stored = wanted.transpose(Image.Transpose[moves[turned]]) if turned > 1 else wanted
        exif = Image.Exif()
        exif[0x0112] = turned
        for name in ("turned.png", "turned.tiff"):
            stored.save(tmp_path / name, exif=exif)
            assert (pixels(tmp_path / name) == np.asarray(wanted)).all()
            assert upright_size(tmp_path / name) == (6, 4)
            assert stored_size(tmp_path / name) == (stored.size, turned)

    def test_a_turned_photograph(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (80, 40)).save(tmp_path / "turned.jpg", exif=exif)
        assert open_image(tmp_path / "turned.jpg").size == (40, 80)

    def test_notes_that_are_damaged_do_not_lose_the_image(self, tmp_path: Path) -> None:
        exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x09\0\xff\xff\xff\xff\x06\0\0\0 garbage"
        Image.new("RGB", (8, 4)).save(tmp_path / "odd.jpg", exif=exif)
        assert open_image(tmp_path / "odd.jpg").size == (8, 4)


class TestLargeImages:
    def test_a_jpeg_is_decoded_at_the_size_that_is_needed(self, tmp_path: Path) -> None:
        picture = Image.new("RGB", (1600, 1200), "navy")
        ImageDraw.Draw(picture).ellipse((300, 200, 1300, 1000), fill="orange")
        picture.save(tmp_path / "large.jpg")
        assert open_image(tmp_path / "large.jpg", side=64).size == (200, 150)
        assert open_image(tmp_path / "large.jpg", side=700).size == (1600, 1200)
        whole = reader.to_tensor(open_image(tmp_path / "large.jpg"), 64)
        small = read_image(tmp_path / "large.jpg", 64)
        difference = (whole.float() - small.float()).abs()
        assert difference.mean() < 1
        assert difference.max() < 40  # at the ellipse's edge

    def test_a_large_one_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reader, "LARGE", 10)  # one at a time from here on
        write_images(tmp_path, 1, 0)
        assert read_image(tmp_path / "000.png", 8).shape == (3, 8, 8)

    def test_a_decompression_bomb(self, tmp_path: Path) -> None:
        bomb = tmp_path / "bomb.png"
        for side in (10_000, 60_000):  # below and above what Pillow itself refuses
            bomb.write_bytes(png(side, side, 8, 2, b""))
            with pytest.raises(OSError, match=r"bomb\.png: .*pixels"):
                read_image(bomb, 64)


class TestFaults:
    def test_what_is_no_image(self, tmp_path: Path) -> None:
        for name, content in (("text.png", b"hello"), ("empty.jpg", b"")):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(OSError, match=f"{name} is no image"):
                read_image(tmp_path / name, 8)
            assert not is_readable(tmp_path / name)
        with pytest.raises(OSError, match=r"none\.png: there is no such file"):
            read_image(tmp_path / "none.png", 8)
        with pytest.raises(OSError, match="there is no such file"):
            read_image(tmp_path, 8)

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(OSError, match=r"pipe\.png"):
            read_image(tmp_path / "pipe.png", 8)

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff", "gif"])
    def test_truncated(self, suffix: str, tmp_path: Path) -> None:
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
    def test_whatever_pillow_raises(
        self, raised: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise raised

        write_images(tmp_path, 1, 0)
        monkeypatch.setattr(Image.Image, "convert", fail)
        with pytest.raises(OSError, match=r"000\.png: ."):
            read_image(tmp_path / "000.png", 8)


class TestTrainingWithFaults:
    """A training bears a share of bad files, and says which and what to do beyond it."""

    @staticmethod
    def spoil(folder: Path, count: int) -> list[Path]:
        files = sorted(folder.iterdir())[:count]
        for file in files:
            file.write_bytes(file.read_bytes()[:400])
        return files

    @pytest.mark.parametrize("memory_limit", [0, 2**30])
    def test_up_to_the_share(
        self, memory_limit: int, image_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (bad,) = self.spoil(image_root / "train" / "red", 1)
        words = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "run"), *TINY_RUN]
        words += ["--trainer.max_epochs", "2", "--data.memory_limit", str(memory_limit)]
        assert main(words) == 0
        assert capfd.readouterr().err.count(f"left out, unreadable: {bad}") == 1

    @pytest.mark.parametrize("memory_limit", [0, 2**30])
    def test_beyond_the_share(
        self, memory_limit: int, image_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        bad = self.spoil(image_root / "train" / "red", 5)
        words = ["fit", "--data", str(image_root), "--run_dir", str(tmp_path / "run"), *TINY_RUN]
        words += ["--trainer.max_epochs", "2", "--data.memory_limit", str(memory_limit)]
        assert main(words) == 2
        told = capfd.readouterr().err
        message = told[told.index("vision-attn: ") :].strip()
        assert "of 32 images cannot be read" in message
        assert len(message.splitlines()) == 2
        assert "--data.max_unreadable 0.05" in message
        assert sum(str(file) in told for file in bad) >= 2
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        assert main([*words, "--data.max_unreadable", "0.2"]) == 0

    def test_a_split_that_is_read_later_counts_too(self, image_root: Path) -> None:
        self.spoil(image_root / "test" / "red", 2)
        data = ImageDataModule(ImageFolder(str(image_root)), image_size=32)
        data.setup("fit")
        with pytest.raises(UserError, match="2 of 32 images cannot be read"):
            data.store("test")

    def test_a_share_that_is_none(self, image_root: Path) -> None:
        with pytest.raises(UserError, match="max_unreadable lies between 0 and 1"):
            ImageDataModule(ImageFolder(str(image_root)), max_unreadable=5)

    def test_a_batch_of_nothing_but_faults_is_passed_over_in_validation(
        self, image_root: Path
    ) -> None:
        self.spoil(image_root / "test" / "red", 1)
        data = ImageDataModule(
            ImageFolder(str(image_root)), batch_size=1, num_workers=0, memory_limit=0
        )
        sizes = [len(targets) for _, targets in data.test_dataloader()]
        assert sorted(sizes) == [0, *[1] * 7]
        assert data.store("test").unreadable != []
