"""`vision-attn export`: a run's model for other programs, compared with the model before use."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_attn.cli.arguments import Options
from vision_attn.core.errors import UserError, first_line

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from torch import Tensor

    from vision_attn.export.base import Format, Sizes
    from vision_attn.export.parity import Agreement

    Readable = tuple[Callable[[int], Tensor], int, str]

MOST_IMAGES = 100
EPILOG = """formats:
  onnx           one .onnx file, for onnxruntime and others (pip install "vision-attn[onnx]")
  torch_export   one .pt2 file, for PyTorch without this package
  hub            a folder for the Hugging Face Hub, which every verb takes as a run, too

What was written is opened again and compared with the model on real images, in batches of several
sizes. If any value of any output differs by more than the tolerance, nothing is left of it and the
exit code is 1.
"""


def parser() -> argparse.ArgumentParser:
    """The verb's options."""
    found = Options("export", "Write a run's model for other programs.", epilog=EPILOG)
    add = found.add_argument
    add("run", metavar="RUN", help="a run folder that fit made")
    add("--format", default="onnx", metavar="NAME", help="onnx, torch_export or hub (%(default)s)")
    add("--out", metavar="PATH", help="a new file or folder (RUN/model.onnx, model.pt2 or hub)")
    add("--opset", type=int, metavar="N", help="version of ONNX's operators (18)")
    add("--fixed_size", action="store_true", help="take images of the model's own size only")
    add("--images", nargs="+", metavar="PATH", help="compare on these, not the run's own images")
    add("--tolerance", type=float, default=1e-4, metavar="X", help="(%(default)s)")
    add("--trust", action="append", default=[], metavar="CLASS", help="own code the run may use")
    return found


def run(words: list[str]) -> int:
    """Write, compare, and hand out; exit code 1 if what was written differs from the model."""
    options = parser().parse_args(words)
    if not options.tolerance > 0:
        raise UserError(f"--tolerance is above 0, not {options.tolerance}.")
    from vision_attn.export.base import Trained
    from vision_attn.export.delivery import Differs, check_free, deliver
    from vision_attn.runs.folder import RunFolder

    folder = RunFolder(Path(options.run))
    card = folder.load_card()
    form = chosen_format(options)
    form.check_installed()
    place = Path(options.out) if options.out else folder.path / form.file_name
    if place.suffix != Path(form.file_name).suffix:
        raise UserError(f"--out: {place} should be called like {form.file_name}.")
    check_free(place)
    trained = Trained(folder, card, folder.load_model(options.trust), options.trust)
    images = read_images(folder, card, options)
    print(f"format     {form.title}", flush=True)
    try:
        sizes, agreement = deliver(form, trained, images, place, options.tolerance)
    except Differs as error:
        print(f"vision-attn: nothing was written: {error}.", file=sys.stderr)
        return 1
    report(card, sizes, agreement)
    print(f"written    {place} ({size_of(place) / 1e6:.1f} MB)")
    return 0


def chosen_format(options: argparse.Namespace) -> "Format":
    """The format by its name, with those options that belong to it.

    Raises:
        UserError: there is no such format, or an option does not belong to it.
    """
    from vision_attn.core.registry import resolve
    from vision_attn.export.base import Format

    given: dict[str, Any] = {"opset": options.opset, "fixed_size": options.fixed_size or None}
    given = {key: value for key, value in given.items() if value is not None}
    found = resolve(Format, options.format)
    try:
        return found(**given)
    except TypeError:
        raise UserError(
            f"--{' and --'.join(given)} cannot be had with --format {options.format}."
        ) from None


def read_images(folder: Any, card: Any, options: argparse.Namespace) -> "Tensor":
    """Up to 100 images in [0, 1], spread over those that were named or the run's own.

    Raises:
        UserError: there are none.
    """
    import torch

    from vision_attn.training.restore import spread

    if options.images:
        read, count, whose = named_images(options.images, card.image_size)
    else:
        read, count, whose = own_images(folder, options.trust)
    images = []
    for index in spread(count, MOST_IMAGES):
        try:
            images.append(read(index))
        except OSError as error:
            print(f"left out, unreadable: {error}", file=sys.stderr)
    if not images:
        raise UserError("none of the images to compare on could be read; name others: --images")
    print(f"compared   on {len(images)} {whose}")
    return torch.stack(images).float() / 255


def named_images(paths: list[str], size: int) -> "Readable":
    """How to read the images at some paths, how many they are, and what to call them."""
    from vision_attn.data.io.image import read_image
    from vision_attn.data.io.paths import listed_images

    files = list(listed_images(paths))
    missing = [file for file in files if not file.exists()]
    if missing:
        raise UserError(f"--images: there is no file or folder {missing[0]}.")
    return lambda index: read_image(files[index], size), len(files), "of the images named"


def own_images(folder: Any, trusted: list[str]) -> "Readable":
    """How to read the run's own test images, how many they are, and what to call them."""
    from vision_attn.training.restore import judged

    try:
        data, name = judged(folder, trusted)
    except UserError as error:
        raise UserError(
            f"no images to compare on ({first_line(error)}); name some: --images DIR"
        ) from error
    split = data.split(name)
    return (
        lambda index: split.read(index, data.image_size),
        len(split),
        f"of the run's {name} images",
    )


def report(card: Any, sizes: "Sizes | None", agreement: "Agreement") -> None:
    """What it takes, and how well it agrees."""
    if sizes is not None:
        side = card.image_size
        reason = f" ({sizes.reason})" if sizes.reason else ""
        told = "any height and width" if sizes.any else f"{side}x{side} pixels only{reason}"
        print(f"takes      any number of images of {told}; made for {side}x{side}")
    worst = ", ".join(f"{name} {most:.1e}" for name, most in agreement.largest.items())
    print(f"differs    by at most: {worst}")
    for name, (left_out, total) in agreement.undecided.items():
        if left_out:
            print(
                f"left out   {left_out} of {total} values of {name}: the model's own jump there, "
                "as pixels move by a millionth"
            )


def size_of(place: Path) -> int:
    """Bytes of a file or of all files of a folder."""
    files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files)
