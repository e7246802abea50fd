"""Boxes and masks that are missing, empty or impossible."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from vision_attn.core.parallel import threaded_map
from vision_attn.core.progress import progress
from vision_attn.data.checks.base import Check, Finding, Severity, number
from vision_attn.data.checks.survey import Survey
from vision_attn.data.io.image import open_image
from vision_attn.data.io.object_masks import Box, find_mask, images_by_stem, read_boxes

WHITE = 127  # a mask's object is brighter


class Truth(Check):
    """What tells where the objects are, held against the images."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Findings on the list of boxes, or on the folder of masks, where there is one."""
        if survey.truth is not None:
            found = about_masks if survey.truth.is_dir() else about_boxes
            yield from found(survey, survey.truth)


def about_boxes(survey: Survey, place: Path) -> Iterator[Finding]:
    """Degenerate boxes, boxes of files that are not there, and images without a box."""
    boxes = read_boxes(place)
    images = {str(Path(image.path).resolve()): image.path for image in survey.images}
    bad = [
        f"{survey.short(images.get(str(file), str(file)))}: {printable(box)}"
        for file, found in boxes.items()
        for box in found
        if not (box[2] > box[0] and box[3] > box[1])
    ]
    unknown = [survey.short(str(file)) for file in boxes if str(file) not in images]
    without = [survey.short(path) for file, path in images.items() if Path(file) not in boxes]
    gone = "Their names are wrong, or files moved."
    yield from notes(
        (bad, "box", f"without an area in {place.name}", "evaluate passes them over."),
        (unknown, "box", f"of images that are not there in {place.name}", gone),
        (without, "image", f"without a box in {place.name}", "evaluate passes them over."),
    )


def notes(*kinds: tuple[Sequence[str], str, str, str]) -> Iterator[Finding]:
    """A note on each kind of which there are some: items, their noun, what of them, and advice."""
    for items, noun, what, advice in kinds:
        if items:
            yield Finding(Severity.NOTE, f"{number(len(items), noun)} {what}", advice, items)


def printable(box: Box) -> str:
    """The edges of a box as they are written.

    >>> printable((3.0, 4.5, 3.0, 9.0))
    '3, 4.5, 3, 9'
    """
    return ", ".join(f"{edge:g}" for edge in box)


def about_masks(survey: Survey, place: Path) -> Iterator[Finding]:
    """Images without a mask, unreadable masks, and empty ones where their class has others."""
    masks: dict[int, Path] = {}
    listed = cache(images_by_stem)
    for index, image in enumerate(survey.images):
        path = Path(image.path)
        mask = find_mask(place, path, above(survey.root, path), listed)
        if mask is not None:
            masks[index] = mask
    lightest = progress(
        threaded_map(brightest, map(str, masks.values())), "reading masks", len(masks), "masks"
    )
    told = dict(zip(masks, lightest, strict=True))
    without = [survey.name(i) for i in range(len(survey.images)) if i not in masks]
    broken = [survey.short(str(masks[i])) for i, value in told.items() if value is None]
    empty = [i for i, value in told.items() if value is not None and value <= WHITE]
    by_class = Counter(survey.images[i].label for i in empty)
    counts = Counter(image.label for image in survey.images)
    whole = [name for name, count in by_class.items() if count == counts[name]]
    some = [survey.name(i) for i in empty if survey.images[i].label not in whole]
    yield from notes(
        (broken, "mask", "cannot be read", "evaluate stops at them: delete or replace them."),
        (without, "image", "without a mask", "evaluate passes them over."),
        (some, "empty mask", "in classes that have others", "evaluate passes them over."),
        (whole, "class", "with empty masks alone", "Nothing to do, if they have no object."),
    )


def above(root: Path, path: Path) -> tuple[Path, Path]:
    """The folders that masks may be named from: that of the data, and that of the split."""
    return root, root / path.relative_to(root).parts[0]


def brightest(mask: str) -> int | None:
    """The brightest value of a mask; None if it cannot be read."""
    try:
        return int(open_image(mask).convert("L").getextrema()[1])  # type: ignore[arg-type]
    except OSError:
        return None
