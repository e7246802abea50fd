"""onnxruntime-web, which runs models in browsers: taken once from npm, verified, and cached."""

import hashlib
import io
import os
import tarfile
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

from vision_attn.core.atomic import atomic_write
from vision_attn.core.errors import UserError, first_line
from vision_attn.core.terminal import say

VERSION = "1.30.0"
TARBALL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
TARBALL_SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
TARBALL_BYTES = 33_106_585
TIMEOUT = 60  # seconds without a byte
DIST = "package/dist"  # the folder of the files in the tarball
FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
"""The files that are needed for models on the CPU, with their SHA-256."""
CACHE = Path("vision-attn") / f"onnxruntime-web-{VERSION}"
ADVICE = (
    f'Or run "npm pack onnxruntime-web@{VERSION}" where there is a network, unpack the file, '
    f"and name its folder: --runtime {DIST}"
)


def user_cache() -> Path:
    """The user's folder for cached files: XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def runtime_files(folder: str | Path | None = None) -> dict[str, Path]:
    """The files of onnxruntime-web, by name; downloaded into the user's cache if necessary.

    Args:
        folder: a folder that has them; None takes the cache.

    Raises:
        UserError: the folder lacks them or has another version, or they cannot be downloaded.
    """
    if folder is not None:
        return files_in(Path(folder))
    cache = user_cache() / CACHE
    if not all(is_verified(cache / name, digest) for name, digest in FILES.items()):
        download(cache)
    return {name: cache / name for name in FILES}


def files_in(folder: Path) -> dict[str, Path]:
    """The files in a folder that the user named.

    Raises:
        UserError: one is missing, or is of another version.
    """
    for name, digest in FILES.items():
        if not (folder / name).is_file():
            raise UserError(f"--runtime: {folder} has no {name}, a file of onnxruntime-web.")
        if not is_verified(folder / name, digest):
            raise UserError(f"--runtime: {folder / name} is not of onnxruntime-web {VERSION}.")
    return {name: folder / name for name in FILES}


def is_verified(path: Path, digest: str) -> bool:
    """Whether a file exists and has this SHA-256."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def download(cache: Path) -> None:
    """Download the tarball from the npm registry, verify it, and unpack the files that are needed.

    Raises:
        UserError: it cannot be downloaded, or it is not the file that is expected.
    """
    say(f"download   onnxruntime-web {VERSION} ({TARBALL_BYTES / 1e6:.0f} MB), once, into {cache}")
    try:
        with urllib.request.urlopen(TARBALL, timeout=TIMEOUT) as response:
            content = response.read(TARBALL_BYTES + 1)
    except (OSError, urllib.error.URLError) as error:
        raise UserError(
            f"onnxruntime-web could not be downloaded from {TARBALL} ({first_line(error)}).\n"
            f"{ADVICE}"
        ) from error
    unpack(content, cache)


def unpack(content: bytes, cache: Path) -> None:
    """Write the files of a tarball into the cache, after its SHA-512 is verified.

    Raises:
        UserError: it is another file.
    """
    if hashlib.sha512(content).hexdigest() != TARBALL_SHA512:
        raise UserError(f"{TARBALL} is not the file that is expected (SHA-512).\n{ADVICE}")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for name in FILES:
            member = archive.extractfile(f"{DIST}/{name}")
            assert member is not None  # the content is pinned
            atomic_write(cache / name, partial(write_bytes, content=member.read()))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file."""
    path.write_bytes(content)
