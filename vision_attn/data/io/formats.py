"""The image formats that are read, and the endings of their files.

Pillow reads many more formats, some of which start other programs (EPS) or are rarely tested. HEIC
files are read if the package pillow-heif is installed, AVIF files if Pillow was built with them.
"""

import importlib.util

from PIL import features

HEIF_PACKAGE = "pillow_heif"
HAS_HEIF = importlib.util.find_spec(HEIF_PACKAGE) is not None
HAS_AVIF = bool(features.check("avif"))

_ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
} | ({"AVIF": (".avif",)} if HAS_AVIF else {})
_HEIF_ENDINGS = (".heic", ".heif", ".hif")

FORMATS = (*_ENDINGS, *(("HEIF",) if HAS_HEIF else ()))
"""Names of the formats in Pillow."""
EXTENSIONS = frozenset(ending for endings in _ENDINGS.values() for ending in endings) | (
    frozenset(_HEIF_ENDINGS) if HAS_HEIF else frozenset()
)
"""Endings of image files, in lower case."""
DEEP_ENDINGS = frozenset(_ENDINGS["PNG"] + _ENDINGS["TIFF"])
"""Endings of the formats that hold more than 8 bits per channel."""
NEEDS = {
    ending: "pip install 'vision-attn[heif]' reads them" for ending in _HEIF_ENDINGS if not HAS_HEIF
} | {
    ".dcm": "DICOM is not read: convert it to 16-bit PNG or TIFF",
    ".nii": "NIfTI is not read: convert its slices to PNG or TIFF",
    ".npy": "NumPy files are not read: convert them to PNG or TIFF",
    ".jp2": "JPEG 2000 is not read: convert it to PNG or TIFF",
    ".svg": "SVG is not read: convert it to PNG",
    ".psd": "PSD is not read: convert it to PNG or TIFF",
}
"""What to do about endings that are not read, but are of images."""


def register_heif() -> None:
    """Let Pillow open HEIC files, if pillow-heif is installed; called before a file is opened."""
    if HAS_HEIF:
        import pillow_heif

        pillow_heif.register_heif_opener()
