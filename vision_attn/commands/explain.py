"""`vision-attn explain`: overlays on the input pixels, for image files and folders."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_attn.commands.choosing import choose
from vision_attn.commands.options import Options, free_folder
from vision_attn.errors import UserError, did_you_mean

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from vision_attn.explainers.base import Explainer
    from vision_attn.explaining import Maps, OneMap
    from vision_attn.model import AttentionClassifier
    from vision_attn.overlay import Explained
    from vision_attn.pooling.base import Window

DEFAULT_EXPLAINERS = "attention,evidence,contrast,grad_cam,integrated_gradients"
TOP = 5  # predicted classes on a sheet


def parser() -> argparse.ArgumentParser:
    """The verb's options."""
    found = Options("explain", "Draw where a run looked, one picture sheet an image.")
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
    for key, least in (("batch_size", 1), ("classes", 0)):
        if getattr(options, key) < least:
            raise UserError(f"--{key} is at least {least}, not {getattr(options, key)}.")
    from vision_attn.run import RunFolder

    folder = RunFolder(Path(options.run))
    sheets = Sheets(options, folder)
    files, failures = find_images(options.paths)
    if not files:
        raise UserError(failures[0] if failures else f"no images in {', '.join(options.paths)}.")
    sheets.out.mkdir(parents=True, exist_ok=True)
    failures += sheets.draw(files)
    if sheets.outlined:
        print(f"objects    known in {sheets.outlined} of {len(sheets.manifest)} images")
    elif options.truth and sheets.manifest:
        failures.append(f"no image has an object by --truth {options.truth}; do the names fit?")
    for line in sheets.promises.broken():
        print(f"adds up    {line}")
    for failure in failures:
        print(f"vision-attn: {failure}", file=sys.stderr)
    drawn = len(sheets.manifest)
    print(f"{drawn} sheet{'s' * (drawn != 1)} in {sheets.out}")
    return 2 if failures else 0


def find_images(paths: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The image files that paths name, and a message for each path that names none."""
    from vision_attn.data.image_folder import image_files

    files, failures = [], []
    for path in map(Path, paths):
        inside = image_files(path) if path.is_dir() else [path]
        if not path.exists():
            failures.append(f"there is no file or folder {path}.")
        elif not inside:
            failures.append(f"{path} has no images in it.")
        else:
            files += inside
    return list(dict.fromkeys(files)), failures


@dataclass(frozen=True)
class Case:
    """One image and all that was found of it."""

    file: Path
    picture: "Image"
    logits: "Tensor"
    target: int
    maps: "Sequence[OneMap]"
    windows: "Sequence[Window]"


class Sheets:
    """Draws sheets and writes raw maps and the manifest beside them."""

    def __init__(self, options: argparse.Namespace, folder: Any) -> None:
        import torch

        from vision_attn.data.truth import read_truth_of_files
        from vision_attn.explainers.base import Explainer
        from vision_attn.explaining import Promises

        self.card = folder.load_card()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: AttentionClassifier = folder.load_model(options.trust).to(self.device)
        classes = self.card.class_names
        self.target = class_index(options.target, classes, "--target")
        self.explainers = choose(Explainer, options.explainers, "--explainers")
        if options.against is not None:
            if options.against == "predicted":
                raise UserError("--against is the name of a class.")
            set_against(self.explainers, class_index(options.against, classes, "--against"))
        self.classes = min(options.classes, len(classes))
        self.heads, self.cells, self.windows = options.heads, options.cells, options.windows
        if self.windows:
            self.check_windows()
        self.truth = read_truth_of_files(Path(options.truth) if options.truth else None)
        self.outlined = 0
        self.promises = Promises()
        self.batch_size = options.batch_size
        self.out = free_folder(options.out, folder.pictures)
        self.manifest: list[dict[str, Any]] = []
        self.names: set[str] = set()

    def check_windows(self) -> None:
        """Refuse to draw windows that the pooling has not."""
        import torch

        side = self.card.image_size
        with torch.no_grad():
            (windows,) = self.model.windows(torch.zeros(1, 3, side, side, device=self.device))
        if not windows:
            name = self.card.pooling["class_path"].split(".")[-1]
            raise UserError(
                f"--windows: {name} looks at the whole image; local poolings have some."
            )

    def draw(self, files: Sequence[Path]) -> list[str]:
        """Explain files batch by batch; returns a message for each that could not be read."""
        from rich.progress import track

        from vision_attn.run import write_whole

        failures: list[str] = []
        batches = [
            files[start : start + self.batch_size]
            for start in range(0, len(files), self.batch_size)
        ]
        show = sys.stderr.isatty() and len(files) > self.batch_size
        for batch in track(batches, "explaining", disable=not show, transient=True):
            self.draw_batch(batch, failures)
        import json

        content = {
            "model": self.card.backbone,
            "pooling": self.card.pooling,
            "class_names": self.card.class_names,
            "images": self.manifest,
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_whole(self.out / "manifest.json", lambda place: place.write_text(text, "utf-8"))
        return failures

    def draw_batch(self, files: Sequence[Path], failures: list[str]) -> None:
        """Read, predict, explain and draw a few files."""
        import torch

        from vision_attn.data.reader import open_image, to_tensor

        pictures = []
        for file in files:
            try:
                pictures.append((file, open_image(file)))
            except OSError as error:
                failures.append(str(error))
        if not pictures:
            return
        tensors = [to_tensor(picture, self.card.image_size) for _, picture in pictures]
        images = torch.stack(tensors).to(self.device).float() / 255
        with torch.no_grad():
            logits = self.model(images)
            windows = self.model.windows(images) if self.windows else [[]] * len(images)
        targets = logits.argmax(1)
        if self.target is not None:
            targets = torch.full_like(targets, self.target)
        found = list(self.maps(images, logits, targets))
        for place, (file, picture) in enumerate(pictures):
            target = int(targets[place])
            chosen = [maps.of_image(place) for maps in found if maps.adds(place, target)]
            self.write(Case(file, picture, logits[place], target, chosen, windows[place]))

    def maps(self, images: "Tensor", logits: "Tensor", targets: "Tensor") -> "Iterator[Maps]":
        """Every map that was asked for, of a few images."""
        from vision_attn.explaining import of_classes, of_heads, of_target

        yield from of_target(self.explainers, self.model, images, targets)
        if self.classes:
            best, names = logits.topk(self.classes).indices, self.card.class_names
            yield from of_classes(self.explainers, self.model, images, best, names)
        if self.heads:
            yield from of_heads(self.model, images, targets)

    def write(self, case: "Case") -> None:
        """One image's sheet, raw maps and entry in the manifest."""
        import numpy as np

        from vision_attn.overlay import sheet

        name, classes = self.free_name(case.file), self.card.class_names
        sheet([self.explained(case)]).savefig(self.out / f"{name}.png")
        (self.out / "maps").mkdir(exist_ok=True)
        for one in case.maps:
            np.save(self.out / map_file(name, one.kind), one.values.numpy())
        self.promises.note(case.file.name, case.maps)
        self.manifest.append(
            {
                "file": str(case.file),
                "sheet": f"{name}.png",
                "size": list(case.picture.size),
                "predictions": dict(self.predictions(case.logits)),
                "target": classes[case.target],
                "logit": float(case.logits[case.target]),
                "bias": float(self.model.head.bias[case.target].detach()),
                "maps": {
                    one.kind: about_map(one, map_file(name, one.kind), classes) for one in case.maps
                },
                "windows": [about_window(window, *case.picture.size) for window in case.windows],
            }
        )

    def explained(self, case: "Case") -> "Explained":
        """What is drawn of an image."""
        import numpy as np

        from vision_attn.overlay import Explained, Heatmap

        heatmaps = []
        for one in case.maps:
            its_own = [window for window in case.windows if one.head in window.heads]
            heatmaps.append(Heatmap(one.title, one.values, one.signed, self.cells, its_own))
        return Explained(
            case.file.name,
            np.asarray(case.picture),
            self.predictions(case.logits),
            heatmaps,
            self.card.class_names[case.target],
            self.outline(case.file, case.picture),
            case.windows,
        )

    def predictions(self, logits: "Tensor") -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities, best first."""
        best = self.model.chances(logits).topk(min(TOP, len(logits)))
        return [
            (self.card.class_names[int(k)], float(p))
            for p, k in zip(best.values, best.indices, strict=True)
        ]

    def outline(self, file: Path, picture: "Image") -> "NDArray[np.bool_] | None":
        """Where the object is in an image, if that is known."""
        mask = self.truth(file, picture.height, picture.width)
        self.outlined += bool(mask.any())
        return mask.numpy() if mask.any() else None

    def free_name(self, file: Path) -> str:
        """A name for the sheet that no other image of this call has."""
        name = next(name for name in candidate_names(file) if name not in self.names)
        self.names.add(name)
        return name


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


def about_map(one: "OneMap", file: str, classes: list[str]) -> dict[str, Any]:
    """What the manifest says of a map."""
    about = {
        "file": file,
        "shape": list(one.values.shape),
        "sum": float(one.values.double().sum()),
        "signed": one.signed,
        "target": classes[one.target],
    }
    return about if one.promised is None else about | {"promised": one.promised, "gap": one.gap}


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


def set_against(explainers: "dict[str, Explainer]", against: int | None) -> None:
    """Let the contrasts among the explainers compare with a named class."""
    from vision_attn.explainers.contrast import Contrast

    contrasts = [found for found in explainers.values() if isinstance(found, Contrast)]
    if not contrasts:
        raise UserError("--against belongs to contrast: --explainers contrast,evidence,...")
    for contrast in contrasts:
        contrast.against = against


def class_index(name: str, class_names: list[str], option: str) -> int | None:
    """The index of a class, or None for the predicted one."""
    if name == "predicted":
        return None
    if name not in class_names:
        hint = did_you_mean(name, class_names)
        raise UserError(f"{option}: the model has no class '{name}'.{hint}")
    return class_names.index(name)
