"""Write explanations of image files: a sheet per image, raw maps, and a manifest."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vision_attn.core.atomic import atomic_write, write_json
from vision_attn.core.errors import UserError
from vision_attn.core.heatmap import Heatmap
from vision_attn.core.progress import progress
from vision_attn.data.io.image import upright_size
from vision_attn.data.io.object_masks import ReadMask, read_masks_of_files
from vision_attn.data.io.paths import listed_images
from vision_attn.data.io.skipped_files import SkippedFiles
from vision_attn.inference.explain import CompletenessCheck, ExplanationRequest
from vision_attn.inference.explanation import TOP, Explanation
from vision_attn.inference.labels import ReadLabel, label_reader
from vision_attn.inference.trained_model import TrainedModel
from vision_attn.inference.verification import VerifiedCell, describe_all
from vision_attn.pooling.base import Window
from vision_attn.runs.loaded_model import LoadedModel
from vision_attn.visualization.overlay import scale_groups

CHECKED_MASKS = 100  # before anything is drawn


@dataclass
class Drawn:
    """Counts of what was drawn, and messages for the user.

    Attributes:
        sheets: number of images that were drawn.
        outlined: number of images whose object is outlined.
        incomplete: one line per explainer whose maps do not add up.
        verified: the cells that were deleted, if that was requested.
        failures: one line per image that could not be read, and one if the masks fit no image.
    """

    sheets: int = 0
    outlined: int = 0
    incomplete: list[str] = field(default_factory=list)
    verified: list[VerifiedCell] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def verification(self) -> str:
        """One line on the cells that were deleted."""
        return describe_all(self.verified)


def request_for(
    model: LoadedModel,
    explainers: Sequence[str],
    target: str | None,
    against: str | None,
    classes: int,
    heads: bool,
    windows: bool,
    verify: bool = False,
) -> ExplanationRequest:
    """A request by names, with error messages that name command line options.

    Raises:
        UserError: there is no such explainer or class, or the pooling has no windows.
    """
    if target == "predicted" and target not in model.class_names:
        target = None
    try:
        request = ExplanationRequest.from_names(
            model.class_names, explainers, target, against, classes, heads, windows, verify
        )
    except UserError as error:
        raise UserError(f"--{error}") from None
    if windows:
        check_windows(model)
    return request


def check_windows(model: LoadedModel) -> None:
    """Refuse to draw windows if the pooling has none.

    Raises:
        UserError: naming the pooling.
    """
    side = model.spec.image_size
    with torch.no_grad():
        (windows,) = model.model.windows(torch.zeros(1, 3, side, side, device=model.device))
    if not windows:
        name = model.spec.pooling["class_path"].split(".")[-1]
        raise UserError(f"--windows: {name} looks at the whole image; local poolings have windows.")


def explain_files(
    model: TrainedModel,
    paths: Sequence[str],
    request: ExplanationRequest,
    out: Path,
    cells: bool = False,
    truth: Path | None = None,
    batch_size: int = 16,
    shared_scale: bool = False,
) -> Drawn:
    """Explain image files and write sheets, raw maps and `manifest.json` into a folder.

    Args:
        model: the trained model.
        paths: image files, folders, patterns and lists.
        request: which heatmaps to make.
        out: the folder.
        cells: whether to draw the borders of each map's cells.
        truth: where the objects are: boxes.csv or a folder of masks; None looks for a boxes.csv.
        batch_size: images per forward pass.
        shared_scale: whether all images share their color scales; else each has its own.

    Raises:
        UserError: a path names no image, a mask is a photograph, or a file cannot be written.
    """
    skipped = SkippedFiles()
    files = list(dict.fromkeys(listed_images(paths, skipped)))
    skipped.report()
    masks = read_masks_of_files(truth)
    check_masks(files, masks)
    scales = scales_of_all(model, files, request, batch_size) if shared_scale else None
    writer = ExplanationWriter(
        out, cells, masks, label_reader(model.class_names, truth, model.folder.split), scales
    )
    check, drawn = CompletenessCheck(), Drawn()
    explanations = model.explanations(files, request, batch_size)
    for explanation in progress(explanations, "explaining", len(files)):
        if explanation.prediction.error is None:
            writer.add(explanation)
            check.add(explanation.prediction.path.name, explanation.heatmaps)
            drawn.verified += explanation.verified
        else:
            drawn.failures.append(explanation.prediction.error)
    if writer.entries:
        writer.write_manifest(model)
    drawn.sheets, drawn.outlined = len(writer.entries), writer.outlined
    drawn.incomplete = list(check.failures())
    if truth is not None and drawn.sheets and not drawn.outlined:
        drawn.failures.append(f"--truth {truth} has no object for any image; do the names fit?")
    return drawn


def check_masks(files: Sequence[Path], masks: ReadMask) -> None:
    """Read the masks of the first files before anything is written.

    Raises:
        UserError: one of them is not a mask.
    """
    for file in files[:CHECKED_MASKS]:
        with suppress(OSError):  # an unreadable image is reported when it is explained
            masks(file, 1, 1)


def scales_of_all(
    model: TrainedModel, files: Sequence[Path], request: ExplanationRequest, batch_size: int
) -> dict[str, float]:
    """The value in full color of each group of maps, over all images.

    The maps are computed a second time when they are drawn, so that memory does not grow with the
    number of images.
    """
    scales: dict[str, float] = {}
    explanations = model.explanations(files, request, batch_size)
    for explanation in progress(explanations, "measuring the shared scale", len(files)):
        for group, value in scale_groups(explanation.heatmaps.values()).items():
            scales[group] = max(scales.get(group, 0.0), value)
    return scales


class ExplanationWriter:
    """Writes sheets and raw maps, and collects the manifest.

    Args:
        out: the folder.
        cells: whether to draw the borders of each map's cells.
        read_masks: gives the mask of an image's object.
        read_label: gives the true class of an image.
        scales: the value in full color of each group of maps; None means each image's own.
    """

    def __init__(
        self,
        out: Path,
        cells: bool,
        read_masks: ReadMask,
        read_label: ReadLabel,
        scales: Mapping[str, float] | None,
    ) -> None:
        self.out = out
        self.cells = cells
        self.read_masks = read_masks
        self.read_label = read_label
        self.scales = scales
        self.outlined = 0
        self.entries: list[dict[str, Any]] = []
        self.names: set[str] = set()

    def add(self, explanation: Explanation) -> None:
        """Write one image's sheet and raw maps, and add it to the manifest."""
        path = explanation.prediction.path
        name, size = self.free_name(path), upright_size(path)
        explanation = replace(explanation, label=self.read_label(path))
        explanation.save(self.out / f"{name}.png", self.cells, self.mask, self.scales)
        for key, heatmap in explanation.heatmaps.items():
            save_map(self.out / map_file(name, key), heatmap.values)
        self.entries.append(
            {
                "file": str(path),
                "sheet": f"{name}.png",
                "size": list(size),
                "predictions": dict(explanation.prediction.top(TOP)),
                "label": explanation.label and explanation.label._asdict(),
                "target": explanation.target,
                "logit": explanation.logit,
                "bias": explanation.bias,
                "maps": {
                    key: about_map(heatmap, map_file(name, key))
                    for key, heatmap in explanation.heatmaps.items()
                },
                "verified": [cell._asdict() for cell in explanation.verified],
                "windows": [about_window(window, *size) for window in explanation.windows],
            }
        )

    def mask(self, path: Path, height: int, width: int) -> Tensor:
        """The mask of an image's object; counts the images that have one."""
        found = self.read_masks(path, height, width)
        self.outlined += bool(found.any())
        return found

    def write_manifest(self, model: LoadedModel) -> None:
        """Write `manifest.json`: what was drawn, and the numbers behind it."""
        content = {
            "model": model.spec.backbone,
            "pooling": model.spec.pooling,
            "class_names": model.class_names,
            "images": self.entries,
        }
        write_json(self.out / "manifest.json", content)

    def free_name(self, file: Path) -> str:
        """A name for the sheet that no other image of this call has."""
        name = next(name for name in candidate_names(file) if name not in self.names)
        self.names.add(name)
        return name


def save_map(path: Path, values: Tensor) -> None:
    """Write a raw map as .npy, atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a name, NumPy would add an extension
            np.save(file, values.numpy())

    atomic_write(path, write)


def map_file(name: str, key: str) -> str:
    """The path of a raw map, below the folder of sheets.

    >>> map_file("cat", "contrast:grad_cam")
    'maps/cat.contrast-grad_cam.npy'
    """
    return f"maps/{name}.{key.replace(':', '-')}.npy"


def candidate_names(file: Path) -> Iterator[str]:
    """`image`, `folder-image`, `image-2`, `image-3`, ..."""
    yield file.stem
    yield f"{file.resolve().parent.name}-{file.stem}"
    number = 2
    while True:
        yield f"{file.stem}-{number}"
        number += 1


def about_map(heatmap: Heatmap, file: str) -> dict[str, Any]:
    """The manifest's entry for a map."""
    about = {
        "file": file,
        "shape": list(heatmap.values.shape),
        "sum": float(heatmap.values.double().sum()),
        "signed": heatmap.signed,
        "target": heatmap.target,
    }
    if heatmap.expected_sum is None:
        return about
    return about | {
        "expected_sum": heatmap.expected_sum,
        "completeness_error": heatmap.error,
    }


def about_window(window: Window, width: int, height: int) -> dict[str, Any]:
    """The manifest's entry for a window: (x, y) in pixels of the image; heads count from 1."""

    def pixels(shares: tuple[float, float]) -> list[float]:
        return [round(shares[1] * width, 2), round(shares[0] * height, 2)]

    return {
        "heads": [head + 1 for head in window.heads],
        "center": pixels(window.center),
        "reach": pixels(window.reach),
        "sigma": None if window.sigma is None else pixels(window.sigma),
    }
