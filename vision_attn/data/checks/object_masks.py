"""Check for object boxes and masks that are missing, empty or invalid."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from vision_attn.core.parallel import threaded_map
from vision_attn.core.progress import progress
from vision_attn.data.checks.base import Check, Finding, Severity, count_noun
from vision_attn.data.checks.survey import Survey
from vision_attn.data.io.object_masks import (
    Box,
    find_mask,
    images_by_stem,
    open_mask,
    read_boxes,
)

WHITE = 127  # of 255: pixels of the object are brighter


class ObjectMasks(Check):
    """Ground-truth boxes or masks of the objects, compared with the images."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield findings about the boxes or masks, if the data set has any."""
        if survey.truth is not None:
            check = mask_findings if survey.truth.is_dir() else box_findings
            yield from check(survey, survey.truth)


def box_findings(survey: Survey, boxes_path: Path) -> Iterator[Finding]:
    """Degenerate boxes, boxes of missing files, and images without a box."""
    boxes = read_boxes(boxes_path)
    images = {str(Path(image.path).resolve()): image.path for image in survey.images}
    degenerate = [
        f"{survey.short(images.get(str(file), str(file)))}: {box_text(box)}"
        for file, file_boxes in boxes.items()
        for box in file_boxes
        if not (box[2] > box[0] and box[3] > box[1])
    ]
    unknown = [survey.short(str(file)) for file in boxes if str(file) not in images]
    without = [survey.short(path) for file, path in images.items() if Path(file) not in boxes]
    advice = "Correct the file names, or restore the files."
    yield from notes(
        (degenerate, "box", f"without an area in {boxes_path.name}", "evaluate skips them."),
        (unknown, "box", f"of missing images in {boxes_path.name}", advice),
        (without, "image", f"without a box in {boxes_path.name}", "evaluate skips them."),
    )


def notes(*kinds: tuple[Sequence[str], str, str, str]) -> Iterator[Finding]:
    """Yield a note per non-empty kind, given as (items, noun, what is wrong, advice)."""
    for items, noun, what, advice in kinds:
        if items:
            yield Finding(Severity.NOTE, f"{count_noun(len(items), noun)} {what}", advice, items)


def box_text(box: Box) -> str:
    """The edges of a box as text.

    >>> box_text((3.0, 4.5, 3.0, 9.0))
    '3, 4.5, 3, 9'
    """
    return ", ".join(f"{edge:g}" for edge in box)


def mask_findings(survey: Survey, folder: Path) -> Iterator[Finding]:
    """Images without a mask, unreadable masks, and empty masks."""
    masks: dict[int, Path] = {}
    stems = cache(images_by_stem)
    for index, image in enumerate(survey.images):
        path = Path(image.path)
        mask = find_mask(folder, path, parent_folders(survey.root, path), stems)
        if mask is not None:
            masks[index] = mask
    maxima = progress(
        threaded_map(brightest, map(str, masks.values())), "reading masks", len(masks), "masks"
    )
    brightness = dict(zip(masks, maxima, strict=True))
    without = [survey.name(i) for i in range(len(survey.images)) if i not in masks]
    unreadable = [survey.short(str(masks[i])) for i, value in brightness.items() if value is None]
    empty = [i for i, value in brightness.items() if value is not None and value <= WHITE]
    empty_by_class = Counter(survey.images[i].label for i in empty)
    counts = Counter(image.label for image in survey.images)
    all_empty = [name for name, count in empty_by_class.items() if count == counts[name]]
    some_empty = [survey.name(i) for i in empty if survey.images[i].label not in all_empty]
    yield from notes(
        (unreadable, "mask", "cannot be read", "evaluate fails on them: delete or replace them."),
        (without, "image", "without a mask", "evaluate skips them."),
        (some_empty, "empty mask", "in classes with non-empty ones", "evaluate skips them."),
        (all_empty, "class", "with only empty masks", "Nothing to do if they have no object."),
    )


def parent_folders(root: Path, path: Path) -> tuple[Path, Path]:
    """The folders that mask paths may be relative to: the data folder and the split folder."""
    return root, root / path.relative_to(root).parts[0]


def brightest(mask: str) -> int | None:
    """Maximum gray value of a mask; None if it cannot be read."""
    try:
        return int(open_mask(Path(mask)).getextrema()[1])  # type: ignore[arg-type]
    except OSError:
        return None
