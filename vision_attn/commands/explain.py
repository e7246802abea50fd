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
    from torch import Tensor

    from vision_attn.explainers.base import Explainer
    from vision_attn.model import AttentionClassifier

DEFAULT_EXPLAINERS = "attention,evidence,contrast,grad_cam,integrated_gradients"
TOP = 5  # predicted classes on a sheet
MOST_HEADS = 16  # max pooling has a head a channel


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
    add("--heads", action="store_true", help=f"the attention of each head, up to {MOST_HEADS}")
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


class Sheets:
    """Draws sheets and writes raw maps and the manifest beside them."""

    def __init__(self, options: argparse.Namespace, folder: Any) -> None:
        import torch

        from vision_attn.explainers.base import Explainer

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
        self.heads, self.cells = options.heads, options.cells
        self.batch_size = options.batch_size
        self.out = free_folder(options.out, folder.pictures)
        self.manifest: list[dict[str, Any]] = []
        self.names: set[str] = set()

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
        targets = logits.argmax(1)
        if self.target is not None:
            targets = torch.full_like(targets, self.target)
        found = list(self.maps(images, logits, targets))
        for place, (file, picture) in enumerate(pictures):
            target = int(targets[place])
            chosen = [maps.of_image(place) for maps in found if maps.adds(place, target)]
            self.write(file, picture, logits[place], target, chosen)

    def maps(self, images: "Tensor", logits: "Tensor", targets: "Tensor") -> "Iterator[Maps]":
        """Every map that was asked for, of a few images."""
        names = self.card.class_names
        for kind, explainer in self.explainers.items():
            yield Maps(kind, explainer.signed, explainer(self.model, images, targets), targets)
        best = logits.topk(self.classes).indices
        ranked = {
            kind: explainer.for_targets(self.model, images, best)
            for kind, explainer in self.explainers.items()
            if explainer.class_specific and self.classes
        }
        for rank in range(self.classes):
            for kind, values in ranked.items():
                signed, target = self.explainers[kind].signed, best[:, rank]
                titles = [f"{kind}: {names[k]}" for k in target.tolist()]
                yield Maps(f"{kind}.{rank + 1}", signed, values[:, rank], target, titles)
        if self.heads:
            weights = self.model.attend(images).weights.detach()
            for head in range(min(weights.shape[1], MOST_HEADS)):
                yield Maps(f"head.{head + 1}", False, weights[:, head], targets)

    def write(
        self,
        file: Path,
        picture: Any,
        logits: "Tensor",
        target: int,
        maps: "Sequence[OneMap]",
    ) -> None:
        """One image's sheet, raw maps and entry in the manifest."""
        import numpy as np

        from vision_attn.overlay import Explained, Heatmap, sheet

        name = self.free_name(file)
        classes = self.card.class_names
        best = self.model.chances(logits).topk(min(TOP, len(classes)))
        predictions = [
            (classes[int(k)], float(p)) for p, k in zip(best.values, best.indices, strict=True)
        ]
        heatmaps = [Heatmap(m.title, m.values, m.signed, self.cells) for m in maps]
        explained = Explained(
            file.name, np.asarray(picture), predictions, heatmaps, classes[target]
        )
        sheet([explained]).savefig(self.out / f"{name}.png")
        (self.out / "maps").mkdir(exist_ok=True)
        for one in maps:
            np.save(self.out / map_file(name, one.kind), one.values.numpy())
        self.manifest.append(
            {
                "file": str(file),
                "sheet": f"{name}.png",
                "size": list(picture.size),
                "predictions": dict(predictions),
                "target": classes[target],
                "logit": float(logits[target]),
                "bias": float(self.model.head.bias[target].detach()),
                "maps": {
                    one.kind: {
                        "file": map_file(name, one.kind),
                        "shape": list(one.values.shape),
                        "sum": float(one.values.double().sum()),
                        "signed": one.signed,
                        "target": classes[one.target],
                    }
                    for one in maps
                },
            }
        )

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


@dataclass(frozen=True)
class OneMap:
    """One map of one image."""

    kind: str
    title: str
    signed: bool
    values: "Tensor"
    target: int


@dataclass(frozen=True)
class Maps:
    """Maps of one kind, of a few images.

    Attributes:
        kind: what its files are called.
        signed: whether negative values speak against the class.
        values: (B, h, w).
        targets: (B,), the classes they speak for.
        titles: what stands above maps of a class other than the target; None takes the kind.
    """

    kind: str
    signed: bool
    values: "Tensor"
    targets: "Tensor"
    titles: list[str] | None = None

    def adds(self, place: int, target: int) -> bool:
        """Whether these show something that the target's maps do not."""
        return self.titles is None or int(self.targets[place]) != target

    def of_image(self, place: int) -> OneMap:
        """The map of one of the images."""
        title = self.kind.replace(".", " ") if self.titles is None else self.titles[place]
        target = int(self.targets[place])
        return OneMap(self.kind, title, self.signed, self.values[place].cpu(), target)


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
