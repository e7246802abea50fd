"""Fuzz the image reader and `predict` with damaged files: no crash, no hang, every error named.

python scripts/fuzz_reader.py --images 10000 --seed 0

Image N of a seed is always the same; `--first N --images 1 --keep DIR` makes it again. Exit code 1
if an image caused a crash or a hang, took more than 10 CPU seconds or 2 GiB, failed without a
one-line error that names its file, or if `predict` disagrees with the reader.
"""

import argparse
import contextlib
import csv
import faulthandler
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from untrained import untrained_run

from vision_attn.cli.main import main
from vision_attn.data.io.image import read_image

SLOWEST = 10  # CPU seconds
HANGS = 120  # wall-clock seconds, after which a process is ended
MOST_MEMORY = 2048  # MiB
AT_ONCE = 500  # images per process
SIZE = 32  # height and width in pixels that images are resized to

Fuzz = random.Random


def picture(random: Fuzz, mode: str) -> Image.Image:
    """A small random image with a gradient and an ellipse."""
    size = (random.randint(1, 70), random.randint(1, 70))
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    ImageDraw.Draw(image).ellipse(
        (0, 0, size[0] // 2, size[1]), fill=(200, 80, random.randint(0, 255))
    )
    if mode == "I;16":
        return image.convert("L").point(lambda v: v * 257, "I").convert("I;16")
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(size))
    return image.convert(mode)


KINDS: dict[str, tuple[str, dict]] = {
    "rgb.jpg": ("RGB", {}),
    "progressive.jpg": ("RGB", {"progressive": True}),
    "gray.jpg": ("L", {}),
    "cmyk.jpg": ("CMYK", {}),
    "rgb.png": ("RGB", {}),
    "rgba.png": ("RGBA", {}),
    "la.png": ("LA", {}),
    "palette.png": ("P", {"transparency": 3}),
    "bit.png": ("1", {}),
    "deep.png": ("I;16", {}),
    "frames.png": ("RGB", {"save_all": True}),
    "lossy.webp": ("RGB", {}),
    "lossless.webp": ("RGBA", {"lossless": True}),
    "frames.webp": ("RGBA", {"save_all": True}),
    "rgb.bmp": ("RGB", {}),
    "palette.bmp": ("P", {}),
    "raw.tif": ("RGB", {}),
    "lzw.tif": ("RGBA", {"compression": "tiff_lzw"}),
    "deflate.tif": ("L", {"compression": "tiff_adobe_deflate"}),
    "jpeg.tif": ("RGB", {"compression": "jpeg"}),
    "fax.tif": ("1", {"compression": "group4"}),
    "deep.tif": ("I;16", {}),
    "int32.tif": ("I", {}),
    "float.tif": ("F", {}),
    "frames.tif": ("RGB", {"save_all": True}),
    "palette.gif": ("P", {"transparency": 3}),
    "frames.gif": ("P", {"save_all": True}),
}


def valid_file(random: Fuzz, kind: str) -> bytes:
    """A valid image file."""
    mode, options = KINDS[kind]
    image = picture(random, mode)
    if options.get("save_all"):
        options = options | {"append_images": [image.transpose(Image.Transpose.ROTATE_180)]}
    exif = Image.Exif()
    exif[0x0112] = random.randint(1, 8)
    exif[0x010E] = "a note"
    if kind.endswith((".jpg", ".png", ".webp")):
        options = options | {"exif": exif}
    file = io.BytesIO()
    image.save(file, Image.registered_extensions()[Path(kind).suffix], **options)
    return file.getvalue()


def flip(random: Fuzz, data: bytearray) -> None:
    """Flip some bits anywhere."""
    for _ in range(random.randint(1, 20)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def flip_head(random: Fuzz, data: bytearray) -> None:
    """Change some bytes of the header, where sizes, formats and tables are."""
    for _ in range(random.randint(1, 6)):
        data[random.randrange(min(len(data), 200))] = random.randrange(256)


def extreme(random: Fuzz, data: bytearray) -> None:
    """Write an extreme or a large number somewhere."""
    number = random.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 65535, 9000, 12000])
    offset = random.randrange(len(data))
    data[offset : offset + 4] = struct.pack(random.choice(["<I", ">I"]), number)


def cut(random: Fuzz, data: bytearray) -> None:
    """Cut off the end."""
    del data[random.randrange(1, len(data)) :]


def lose(random: Fuzz, data: bytearray) -> None:
    """Remove a part."""
    offset = random.randrange(len(data))
    del data[offset : offset + random.randint(1, 100)]


def repeat(random: Fuzz, data: bytearray) -> None:
    """Repeat a part once or many times."""
    offset = random.randrange(len(data))
    part = data[offset : offset + random.randint(1, 200)]
    data[offset:offset] = part * random.choice([1, 2, 50])


def insert(random: Fuzz, data: bytearray) -> None:
    """Insert random bytes."""
    data[random.randrange(len(data)) :][:0] = random.randbytes(random.randint(1, 300))


def splice(random: Fuzz, data: bytearray) -> None:
    """Replace the rest by a part of another file."""
    other = valid_file(random, random.choice(list(KINDS)))
    data[random.randrange(1, len(data)) :] = other[random.randrange(len(other)) :]


MUTATIONS: list[Callable[[Fuzz, bytearray], None]] = [
    flip, flip_head, extreme, cut, lose, repeat, insert, splice,
]  # fmt: skip


def with_valid_checksums(data: bytes) -> bytes:
    """A PNG with recomputed CRC checksums of its chunks, so that readers do not stop at them."""
    fixed, offset = bytearray(data), 8
    while offset + 12 <= len(fixed):
        (length,) = struct.unpack_from(">I", fixed, offset)
        end = offset + 8 + length
        if end + 4 > len(fixed):
            break
        struct.pack_into(">I", fixed, end, zlib.crc32(fixed[offset + 4 : end]))
        offset = end + 4
    return bytes(fixed)


def damaged(seed: int, number: int) -> tuple[str, bytes]:
    """The name and content of image `number`."""
    random = Fuzz(f"{seed}/{number}")
    kind = random.choice(list(KINDS))
    data = bytearray(valid_file(random, kind))
    for _ in range(random.choice([0, 1, 1, 1, 2, 3])):  # one in six is not damaged
        random.choice(MUTATIONS)(random, data)
        data = data or bytearray(b"\0")
    if kind.endswith(".png") and random.random() < 0.7:
        data = bytearray(with_valid_checksums(data))
    return f"{number:07d}.{kind}", bytes(data)


def memory() -> int:
    """The peak memory of this process in MiB."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) // 1024


def try_some(seed: int, numbers: range, folder: Path, run: Path, now: object) -> None:
    """Read damaged images one by one, then predict them all; write the results to a file."""
    torch.set_num_threads(1)
    terminal = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff prints every error there directly
    before = memory()
    found: dict = {"read": [], "refused": [], "unnamed": [], "slowest": 0.0, "slow": []}
    for number in numbers:
        name, content = damaged(seed, number)
        (folder / name).write_bytes(content)
        now.value = number  # type: ignore[attr-defined]
        faulthandler.dump_traceback_later(HANGS, exit=True, file=terminal)
        started = time.process_time()  # CPU time, which does not depend on other load
        try:
            read_image(folder / name, SIZE)
            found["read"].append(name)
        except OSError as error:
            named = str(folder / name) in str(error) and len(str(error).splitlines()) == 1
            found["refused" if named else "unnamed"].append(name)
        except Exception as error:  # any other type is a bug: it should be an OSError
            found["unnamed"].append(f"{name} {error!r}")
        seconds = time.process_time() - started
        found["slowest"] = max(found["slowest"], seconds)
        if seconds > SLOWEST:
            found["slow"].append(name)
    faulthandler.dump_traceback_later(AT_ONCE * HANGS, exit=True, file=terminal)
    found["predicted"] = predict(folder, run)
    faulthandler.cancel_dump_traceback_later()
    found["memory"] = memory() - before
    (folder.parent / "found.json").write_text(json.dumps(found))


def predict(folder: Path, run: Path) -> dict[str, str]:
    """The error of each image in the table of `vision-attn predict`, by name; empty if none."""
    out = folder.parent / "predictions.csv"
    out.unlink(missing_ok=True)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        code = main(["predict", str(run), str(folder), "--out", str(out)])
    if code > 1:
        return {}
    with out.open(newline="", encoding="utf-8") as table:
        return {Path(row["file"]).name: row["error"] for row in csv.DictReader(table)}


def fuzz(options: argparse.Namespace, root: Path) -> Counter:
    """Try all images, 500 per process; print failures as soon as they occur."""
    run, folder = untrained_run(root / "run", "tiny", SIZE), root / "images"
    forked = multiprocessing.get_context("fork")
    now, counts = forked.Value("q", 0), Counter()
    first, end = options.first, options.first + options.images
    while first < end:
        numbers = range(first, min(first + AT_ONCE, end))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        process = forked.Process(target=try_some, args=(options.seed, numbers, folder, run, now))
        process.start()
        process.join()
        if process.exitcode:
            print(f"WRONG image {now.value}: the process ended with {process.exitcode}")
            counts["crashed or hung"] += 1
            first = now.value + 1
            continue
        add(counts, json.loads((root / "found.json").read_text()))
        first = numbers.stop
        print(f"{first - options.first} of {options.images}", file=sys.stderr, flush=True)
        if options.keep:
            shutil.copytree(folder, options.keep, dirs_exist_ok=True)
    return counts


def add(counts: Counter, found: dict) -> None:
    """Add the results of one process."""
    for kind in ("read", "refused", "unnamed"):
        counts[kind] += len(found[kind])
    errors = found["predicted"]
    differing = [name for name in found["read"] if errors.get(name) != ""]
    differing += [name for name in found["refused"] if not errors.get(name)]
    counts["predict differs"] += len(differing)
    counts["slow"] += len(found["slow"])
    counts["memory"] = max(counts["memory"], found["memory"])
    counts["milliseconds"] = max(counts["milliseconds"], round(1000 * found["slowest"]))
    for kind, names in (
        ("unnamed", found["unnamed"]),
        ("slow", found["slow"]),
        ("predict differs", differing),
    ):
        for name in names:
            print(f"WRONG {kind}: {name}")


def run() -> int:
    """Fuzz and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", metavar="DIR", help="keep the images in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        counts = fuzz(options, Path(root))
    print(f"{options.images} images, seed {options.seed}")
    print(f"read                        {counts['read']}")
    print(f"refused with one line       {counts['refused']}")
    for kind in ("unnamed", "crashed or hung", "predict differs"):
        print(f"{kind:<28}{counts[kind]}")
    print(f"longer than {SLOWEST} s             {counts['slow']}")
    print(f"slowest                     {counts['milliseconds'] / 1000:.2f} CPU seconds")
    print(f"peak memory above start     {counts['memory']} MiB (bound: {MOST_MEMORY})")
    wrong = sum(counts[kind] for kind in ("unnamed", "crashed or hung", "slow"))
    wrong += counts["predict differs"] + (counts["memory"] > MOST_MEMORY)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(run())
