"""`vision-attn explain`: overlays on the input pixels, for image files and folders."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_attn.cli.arguments import Options, own_folder
from vision_attn.core.errors import UserError

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from torch import Tensor

    from vision_attn.data.io.object_masks import ReadTruth
    from vision_attn.inference.explain import Wanted
    from vision_attn.inference.explanation import Explanation, TargetMap
    from vision_attn.inference.trained_model import TrainedModel
    from vision_attn.pooling.base import Window

DEFAULT_EXPLAINERS = "attention,evidence,contrast,grad_cam,integrated_gradients"
EPILOG = "PATH: an image file, a folder, a pattern ('photos/**/*.jpg') or @list.txt, a path a line."


def parser() -> argparse.ArgumentParser:
    """The verb's options."""
    found = Options(
        "explain", "Draw where a run looked, one picture sheet an image.", epilog=EPILOG
    )
    add = found.add_argument
    add("run", metavar="RUN", help="a run folder that fit made")
    add("paths", nargs="+", metavar="PATH", help="image files and folders")
    add("--explainers", default=DEFAULT_EXPLAINERS, metavar="A,B", help="(%(default)s)")
    add("--target", default="predicted", help="the class to explain: predicted, or its name")
    add("--against", metavar="CLASS", help="contrast maps with this class, not the strongest rival")
    add("--classes", type=int, default=0, metavar="N", help="maps of the N likeliest classes, too")
    add("--heads", action="store_true", help="the attention of each head, up to 16")
    add("--windows", action="store_true", help="the windows that local heads look through")
    add("--truth", metavar="PATH", help="outlines of objects: boxes.csv, or a folder of masks")
    add("--cells", action="store_true", help="draw the borders of each map's cells")
    add("--out", metavar="DIR", help="where to (RUN/pictures/<date-time>)")
    add("--batch_size", type=int, default=16, metavar="N", help="images at a time (%(default)s)")
    add("--trust", action="append", default=[], metavar="CLASS", help="own code the run may use")
    return found


def run(words: list[str]) -> int:
    """Explain every image that can be read; exit code 2 if one could not."""
    options = parser().parse_args(words)
    if options.batch_size < 1:
        raise UserError(f"--batch_size is at least 1, not {options.batch_size}.")
    from vision_attn.inference.explain import Wanted
    from vision_attn.inference.trained_model import load
    from vision_attn.runs.folder import RunFolder

    model = load(options.run, options.trust)
    wanted = Wanted.named(
        model.class_names,
        options.explainers,
        options.target,
        options.against,
        options.classes,
        options.heads,
        options.windows,
    )
    if options.windows:
        check_windows(model)
    with own_folder(options.out, RunFolder(Path(options.run)).pictures) as out:
        return draw(model, wanted, out, options)


def draw(model: "TrainedModel", wanted: "Wanted", out: Path, options: argparse.Namespace) -> int:
    """Draw the sheets of every image that can be read; the exit code."""
    from vision_attn.data.io.object_masks import read_truth_of_files
    from vision_attn.data.io.paths import listed_images
    from vision_attn.inference.explain import Promises

    files = list(dict.fromkeys(listed_images(options.paths)))
    truth = read_truth_of_files(Path(options.truth) if options.truth else None)
    sheets, promises = Sheets(out, options.cells, truth), Promises()
    failures = []
    explanations = model.explanations(files, wanted, options.batch_size)
    for explanation in progress(explanations, len(files), options.batch_size):
        if explanation.prediction.error is None:
            sheets.add(explanation)
            promises.note(explanation.prediction.path.name, explanation.maps)
        else:
            failures.append(explanation.prediction.error)
    if sheets.entries:
        sheets.write_manifest(model)
    if sheets.outlined:
        print(f"objects    known in {sheets.outlined} of {len(sheets.entries)} images")
    elif options.truth and sheets.entries:
        failures.append(f"no image has an object by --truth {options.truth}; do the names fit?")
    for line in promises.broken():
        print(f"adds up    {line}")
    for failure in failures:
        print(f"vision-attn: {failure}", file=sys.stderr)
    drawn = len(sheets.entries)
    print(f"{drawn} sheet{'s' * (drawn != 1)} in {out}")
    return 2 if failures else 0


def check_windows(model: "TrainedModel") -> None:
    """Refuse to draw windows that the pooling has not."""
    import torch

    side = model.card.image_size
    with torch.no_grad():
        (windows,) = model.model.windows(torch.zeros(1, 3, side, side, device=model.device))
    if not windows:
        name = model.card.pooling["class_path"].split(".")[-1]
        raise UserError(f"--windows: {name} looks at the whole image; local poolings have some.")


def progress(
    explanations: "Iterator[Explanation]", total: int, batch_size: int
) -> "Iterator[Explanation]":
    """The same, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    show = sys.stderr.isatty() and total > batch_size
    console = Console(stderr=True)
    yield from track(
        explanations, "explaining", total, console=console, disable=not show, transient=True
    )


class Sheets:
    """Draws sheets and writes raw maps and the manifest beside them."""

    def __init__(self, out: Path, cells: bool, read_truth: "ReadTruth") -> None:
        self.out = out
        self.cells = cells
        self.read_truth = read_truth
        self.outlined = 0
        self.entries: list[dict[str, Any]] = []
        self.names: set[str] = set()

    def add(self, explanation: "Explanation") -> None:
        """One image's sheet, raw maps and entry in the manifest."""
        from vision_attn.data.io.image import upright_size
        from vision_attn.inference.explanation import TOP

        path = explanation.prediction.path
        name, size = self.free_name(path), upright_size(path)
        explanation.save(self.out / f"{name}.png", self.cells, self.mask)
        for kind, found in explanation.maps.items():
            save_map(self.out / map_file(name, kind), found.values)
        self.entries.append(
            {
                "file": str(path),
                "sheet": f"{name}.png",
                "size": list(size),
                "predictions": dict(explanation.prediction.top(TOP)),
                "target": explanation.target,
                "logit": explanation.logit,
                "bias": explanation.bias,
                "maps": {
                    kind: about_map(found, map_file(name, kind))
                    for kind, found in explanation.maps.items()
                },
                "windows": [about_window(window, *size) for window in explanation.windows],
            }
        )

    def mask(self, path: Path, height: int, width: int) -> "Tensor":
        """Where the object is in an image, counting those in which that is known."""
        found = self.read_truth(path, height, width)
        self.outlined += bool(found.any())
        return found

    def write_manifest(self, model: "TrainedModel") -> None:
        """`manifest.json`: what was drawn, and the numbers behind it."""
        import json

        from vision_attn.core.atomic import write_whole

        content = {
            "model": model.card.backbone,
            "pooling": model.card.pooling,
            "class_names": model.class_names,
            "images": self.entries,
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_whole(
            self.out / "manifest.json",
            # Bytes of a file's name that are no UTF-8 become JSON's own escapes.
            lambda place: place.write_text(text, "utf-8", "backslashreplace"),
        )

    def free_name(self, file: Path) -> str:
        """A name for the sheet that no other image of this call has."""
        name = next(name for name in candidate_names(file) if name not in self.names)
        self.names.add(name)
        return name


def save_map(place: Path, values: "Tensor") -> None:
    """A raw map as .npy, whole or not at all."""
    import numpy as np

    from vision_attn.core.atomic import write_whole

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a name, NumPy would add an ending to it
            np.save(file, values.numpy())

    write_whole(place, write)


def map_file(name: str, kind: str) -> str:
    """Where the raw map of a kind goes, below the folder of sheets.

    >>> map_file("cat", "contrast:grad_cam")
    'maps/cat.contrast-grad_cam.npy'
    """
    return f"maps/{name}.{kind.replace(':', '-')}.npy"


def candidate_names(file: Path) -> Iterator[str]:
    """`image`, `folder-image`, `image-2`, `image-3`, ..."""
    yield file.stem
    yield f"{file.resolve().parent.name}-{file.stem}"
    number = 2
    while True:
        yield f"{file.stem}-{number}"
        number += 1


def about_map(found: "TargetMap", file: str) -> dict[str, Any]:
    """What the manifest says of a map."""
    about = {
        "file": file,
        "shape": list(found.values.shape),
        "sum": float(found.values.double().sum()),
        "signed": found.signed,
        "target": found.target,
    }
    if found.promised is None:
        return about
    return about | {"promised": found.promised, "gap": found.gap}


def about_window(window: "Window", width: int, height: int) -> dict[str, Any]:
    """What the manifest says of a window: pixels of the image, across and down; heads from 1."""

    def pixels(shares: tuple[float, float]) -> list[float]:
        return [round(shares[1] * width, 2), round(shares[0] * height, 2)]

    return {
        "heads": [head + 1 for head in window.heads],
        "centre": pixels(window.centre),
        "reach": pixels(window.reach),
        "sigma": None if window.sigma is None else pixels(window.sigma),
    }
