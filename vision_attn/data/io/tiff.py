"""What Pillow does not do with TIFF files: signed and unsigned values, inverted gray, refusals."""

from typing import BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

PHOTOMETRIC, BITS, SAMPLES = 262, 258, 277
EXTRA_SAMPLES, SAMPLE_FORMAT, PLANAR = 338, 339, 284
"""Tags of TIFF 6.0, section 8, and 18 and 19 (the names of the constants are theirs)."""
GDAL_NODATA = 42113  # text; registered by GDAL for maps and elevations
WHITE_IS_ZERO = 0
FORMATS = {1: "unsigned", 2: "signed", 3: "float", 5: "complex signed", 6: "complex float"}
SUPPORTED = (
    "read are 1, 3 or 4 channels of 8 bits, 16-bit gray and RGB, 32-bit gray, and 32-bit float gray"
)


def tag(file: Image.Image, number: int, default: int) -> int:
    """A number in the header of a TIFF; of several, the first."""
    found = getattr(file, "tag_v2", {}).get(number, default)
    return int(found[0] if isinstance(found, tuple) else found)


def extra_samples(file: Image.Image) -> tuple[int, ...]:
    """What each channel beyond the color ones is: 0 unspecified, 1 and 2 alpha (TIFF 6.0)."""
    found = getattr(file, "tag_v2", {}).get(EXTRA_SAMPLES, ())
    return found if isinstance(found, tuple) else (found,)


def refuse_misread(file: Image.Image) -> None:
    """Refuse a TIFF that Pillow opens but reads wrongly or in part.

    Raises:
        ValueError: it has 16-bit color in separate planes, or gray with a channel that is not
            alpha, or color with such a channel (near infrared, say), which Pillow leaves out.
    """
    if file.format != "TIFF":
        return
    bits, samples = tag(file, BITS, 1), tag(file, SAMPLES, 1)
    if samples > 1 and bits > 8 and tag(file, PLANAR, 1) == 2:
        raise ValueError(f"a TIFF of {samples} separate planes of {bits} bits; {SUPPORTED}.")
    if samples == 2 and tag(file, EXTRA_SAMPLES, 0) == 0:
        raise ValueError(f"a TIFF of 2 channels; {SUPPORTED}.")
    if 0 in extra_samples(file):
        raise ValueError(f"a TIFF of {samples} channels, of which one is not color; {SUPPORTED}.")


def with_true_values(file: Image.Image) -> Image.Image:
    """The decoded image with the values that the file means.

    Pillow shows 8-bit values with a sign as if they had none, and 32-bit values without a sign as
    if they had one. Values that stand for missing data (GDAL's tag) become NaN.
    """
    if file.format != "TIFF":
        return file
    kind, bits = tag(file, SAMPLE_FORMAT, 1), tag(file, BITS, 1)
    if file.mode == "L" and bits == 8 and kind == 2:
        return file.point([(value + 128) % 256 for value in range(256)])
    if file.mode == "I" and bits == 32 and kind == 1:
        return Image.fromarray(np.asarray(file).view(np.uint32).astype(np.float32))
    missing = missing_value(file) if file.mode in ("I", "F") else None
    if missing is not None:
        values = np.asarray(file).astype(np.float32)
        return Image.fromarray(np.where(values == np.float32(missing), np.float32(np.nan), values))
    return file


def missing_value(file: Image.Image) -> float | None:
    """The value that stands for missing data; None if there is none."""
    try:
        return float(str(getattr(file, "tag_v2", {}).get(GDAL_NODATA)).strip("\0 "))
    except ValueError:
        return None


def is_inverted(file: Image.Image) -> bool:
    """Whether 0 is white in grayscale of more than 8 bits; with 8 bits Pillow inverts by itself."""
    return (
        file.format == "TIFF"
        and file.mode not in ("1", "L", "P")
        and tag(file, SAMPLES, 1) == 1
        and tag(file, PHOTOMETRIC, 1) == WHITE_IS_ZERO
    )


def describe_tiff(stream: BinaryIO) -> str | None:
    """What a TIFF that Pillow cannot open holds, and what can be read; None if it is no TIFF."""
    stream.seek(0)
    header = stream.read(8)
    if header[:4] not in (b"II*\0", b"MM\0*"):
        return None
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        stream.seek(tags.next)
        tags.load(stream)
        bits, kind = (tags.get(number, (1,)) for number in (BITS, SAMPLE_FORMAT))
        samples = tags.get(SAMPLES, 1)
        named = FORMATS.get(kind[0] if isinstance(kind, tuple) else kind, "unknown")
        depth = bits[0] if isinstance(bits, tuple) else bits
    except Exception:  # as in `open_header`: damaged files raise all kinds of errors
        return None
    channels = f"{samples} channel{'s' * (samples != 1)}"
    return f"a TIFF of {channels} of {depth} bits ({named}); {SUPPORTED}."
