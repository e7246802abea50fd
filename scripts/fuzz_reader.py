"""Damaged images through the reader and through `predict`: nothing may crash, hang or go unnamed.

python scripts/fuzz_reader.py --images 10000 --seed 0

Image N of a seed is always the same; `--first N --images 1 --keep DIR` makes that one again. Exit
code 1 if an image crashed or hung, took more than 10 s of a core or 2 GiB, failed without a line
that names its file, or is told otherwise by `predict`.
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

SLOWEST = 10  # seconds of one core
HANGS = 120  # seconds by the clock, after which a process is ended
MOST_MEMORY = 2048  # MiB
AT_ONCE = 500  # images a process
SIZE = 32  # pixels a side that images are brought to

Fuzz = random.Random


def picture(random: Fuzz, mode: str) -> Image.Image:
    """A small picture with something on it."""
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
    "grey.jpg": ("L", {}),
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
    "whole.tif": ("I", {}),
    "float.tif": ("F", {}),
    "frames.tif": ("RGB", {"save_all": True}),
    "palette.gif": ("P", {"transparency": 3}),
    "frames.gif": ("P", {"save_all": True}),
}


def sound(random: Fuzz, kind: str) -> bytes:
    """An image file with nothing wrong in it."""
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
    """Some bits anywhere."""
    for _ in range(random.randint(1, 20)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def flip_head(random: Fuzz, data: bytearray) -> None:
    """Some bytes where sizes, kinds and tables are."""
    for _ in range(random.randint(1, 6)):
        data[random.randrange(min(len(data), 200))] = random.randrange(256)


def extreme(random: Fuzz, data: bytearray) -> None:
    """A number that is as large or as small as it can be, or just large."""
    number = random.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 65535, 9000, 12000])
    place = random.randrange(len(data))
    data[place : place + 4] = struct.pack(random.choice(["<I", ">I"]), number)


def cut(random: Fuzz, data: bytearray) -> None:
    """The end is missing."""
    del data[random.randrange(1, len(data)) :]


def lose(random: Fuzz, data: bytearray) -> None:
    """A part is missing."""
    place = random.randrange(len(data))
    del data[place : place + random.randint(1, 100)]


def repeat(random: Fuzz, data: bytearray) -> None:
    """A part comes twice, or many times."""
    place = random.randrange(len(data))
    part = data[place : place + random.randint(1, 200)]
    data[place:place] = part * random.choice([1, 2, 50])


def insert(random: Fuzz, data: bytearray) -> None:
    """Something that does not belong there."""
    data[random.randrange(len(data)) :][:0] = random.randbytes(random.randint(1, 300))


def splice(random: Fuzz, data: bytearray) -> None:
    """The rest is that of another file."""
    other = sound(random, random.choice(list(KINDS)))
    data[random.randrange(1, len(data)) :] = other[random.randrange(len(other)) :]


MUTATIONS: list[Callable[[Fuzz, bytearray], None]] = [
    flip, flip_head, extreme, cut, lose, repeat, insert, splice,
]  # fmt: skip


def with_right_sums(data: bytes) -> bytes:
    """A PNG whose chunks have the sums that their content asks for, so that it is looked into."""
    fixed, place = bytearray(data), 8
    while place + 12 <= len(fixed):
        (length,) = struct.unpack_from(">I", fixed, place)
        end = place + 8 + length
        if end + 4 > len(fixed):
            break
        struct.pack_into(">I", fixed, end, zlib.crc32(fixed[place + 4 : end]))
        place = end + 4
    return bytes(fixed)


def damaged(seed: int, number: int) -> tuple[str, bytes]:
    """The name and content of image `number`."""
    random = Fuzz(f"{seed}/{number}")
    kind = random.choice(list(KINDS))
    data = bytearray(sound(random, kind))
    for _ in range(random.choice([0, 1, 1, 1, 2, 3])):  # one in six is sound
        random.choice(MUTATIONS)(random, data)
        data = data or bytearray(b"\0")
    if kind.endswith(".png") and random.random() < 0.7:
        data = bytearray(with_right_sums(data))
    return f"{number:07d}.{kind}", bytes(data)


def memory() -> int:
    """The most memory this process had so far, in MiB."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) // 1024


def try_some(seed: int, numbers: range, folder: Path, run: Path, now: object) -> None:
    """Read damaged images one by one, then predict them all; leaves what was found in a file."""
    torch.set_num_threads(1)
    terminal = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff tells every fault, past Python
    before = memory()
    found: dict = {"read": [], "refused": [], "unnamed": [], "slowest": 0.0, "slow": []}
    for number in numbers:
        name, content = damaged(seed, number)
        (folder / name).write_bytes(content)
        now.value = number  # type: ignore[attr-defined]
        faulthandler.dump_traceback_later(HANGS, exit=True, file=terminal)
        started = time.process_time()  # others may use the machine
        try:
            read_image(folder / name, SIZE)
            found["read"].append(name)
        except OSError as error:
            named = str(folder / name) in str(error) and len(str(error).splitlines()) == 1
            found["refused" if named else "unnamed"].append(name)
        except Exception as error:  # whatever else it is, it should have been an OSError
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
    """The error of each image by its name, as `vision-attn predict` tells it; empty for none."""
    out = folder.parent / "predictions.csv"
    out.unlink(missing_ok=True)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        code = main(["predict", str(run), str(folder), "--out", str(out)])
    if code > 1:
        return {}
    with out.open(newline="", encoding="utf-8") as lines:
        return {Path(row["file"]).name: row["error"] for row in csv.DictReader(lines)}


def fuzz(options: argparse.Namespace, place: Path) -> Counter:
    """All images, some hundred in a process each; prints what is wrong as soon as it is known."""
    run, folder = untrained_run(place / "run", "tiny", SIZE), place / "images"
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
        add(counts, json.loads((place / "found.json").read_text()))
        first = numbers.stop
        print(f"{first - options.first} of {options.images}", file=sys.stderr, flush=True)
        if options.keep:
            shutil.copytree(folder, options.keep, dirs_exist_ok=True)
    return counts


def add(counts: Counter, found: dict) -> None:
    """Add what one process found."""
    for kind in ("read", "refused", "unnamed"):
        counts[kind] += len(found[kind])
    told = found["predicted"]
    unlike = [name for name in found["read"] if told.get(name) != ""]
    unlike += [name for name in found["refused"] if not told.get(name)]
    counts["told otherwise by predict"] += len(unlike)
    counts["slow"] += len(found["slow"])
    counts["memory"] = max(counts["memory"], found["memory"])
    counts["milliseconds"] = max(counts["milliseconds"], round(1000 * found["slowest"]))
    for kind, names in (("unnamed", found["unnamed"]), ("slow", found["slow"]), ("unlike", unlike)):
        for name in names:
            print(f"WRONG {kind}: {name}")


def run() -> int:
    """Fuzz, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", metavar="DIR", help="keep the images in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        counts = fuzz(options, Path(place))
    print(f"{options.images} images, seed {options.seed}")
    print(f"read                        {counts['read']}")
    print(f"refused in a line           {counts['refused']}")
    for kind in ("unnamed", "crashed or hung", "told otherwise by predict"):
        print(f"{kind:<28}{counts[kind]}")
    print(f"longer than {SLOWEST} s             {counts['slow']}")
    print(f"slowest                     {counts['milliseconds'] / 1000:.2f} s of one core")
    print(f"most memory over the start  {counts['memory']} MiB (bound: {MOST_MEMORY})")
    wrong = sum(counts[kind] for kind in ("unnamed", "crashed or hung", "slow"))
    wrong += counts["told otherwise by predict"] + (counts["memory"] > MOST_MEMORY)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(run())
