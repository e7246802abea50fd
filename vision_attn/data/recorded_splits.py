"""Restore the train/val/test splits of a run from its `split.csv`, to score held-out images only.

This avoids data leakage if files were added, moved or removed since the training.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vision_attn.data.sources.files import SPLIT_ALIASES
from vision_attn.data.sources.image_table import read_rows
from vision_attn.data.split import Split

ImageRef = tuple[Split, int]
"""One image: a split that contains it, and its index in that split."""


def read_record(path: Path) -> dict[str, str]:
    """Read a `split.csv`: the split of each file, by its path relative to the data folder.

    Raises:
        UserError: the file is damaged.
    """
    rows = read_rows(path, "file", "label", "split")
    return {row.path: row.split for row in rows if row.split in SPLIT_ALIASES}


def as_recorded(
    found: Mapping[str, Split], record: Mapping[str, str], root: Path
) -> tuple[dict[str, Split], list[str]]:
    """Sort the images of a source into the recorded splits, and describe every difference.

    Images that are not in the record stay in the validation or test split that the source itself
    puts them into. New training images are left out: with another seed, or with other images
    around them, they would be cut into other splits.

    Args:
        found: the source's own splits.
        record: the split of each file.
        root: the data folder.

    Returns:
        the splits, and one line of text per kind of difference.
    """
    splits: dict[str, list[ImageRef]] = {name: [] for name in SPLIT_ALIASES}
    unknown = 0
    leaked: Counter[str] = Counter()
    missing = Counter(record.values())
    for own, split in found.items():
        for index, name in enumerate(split.names):
            recorded = record.get(os.path.relpath(name, root))
            missing[recorded or ""] -= recorded is not None
            if recorded is None and own == "train":
                unknown += 1
            else:
                splits[recorded or own].append((split, index))
            leaked[own] += recorded == "train" and own != "train"
    lines = list(describe_differences(missing, leaked, unknown))
    return {name: merge(images) for name, images in splits.items() if images}, lines


def describe_differences(
    missing: Counter[str], leaked: Counter[str], unknown: int
) -> Iterator[str]:
    """One line each on missing images, images the run was trained on, and new images.

    >>> for line in describe_differences(Counter(test=1), Counter(val=1), 3):
    ...     print(line)
    1 of the run's test images is missing
    1 of the val images was used for training: left out
    3 of the images are new since the run was started: left out
    """
    for name, count in missing.items():
        if count > 0 and name != "train":
            verb = "is" if count == 1 else "are"
            yield f"{count} of the run's {name} images {verb} missing"
    for name, count in leaked.items():
        if count:
            verb = "was" if count == 1 else "were"
            yield f"{count} of the {name} images {verb} used for training: left out"
    if unknown:
        verb = "is" if unknown == 1 else "are"
        yield f"{unknown} of the images {verb} new since the run was started: left out"


def merge(images: Sequence[ImageRef]) -> Split:
    """Merge images of several splits into one split."""
    have_masks = all(split.read_mask is not None for split, _ in images)

    def mask(index: int, size: int) -> object:
        split, own_index = images[index]
        assert split.read_mask is not None
        return split.read_mask(own_index, size)

    return Split(
        names=[split.names[own_index] for split, own_index in images],
        labels=[split.labels[own_index] for split, own_index in images],
        read=lambda index, size: images[index][0].read(images[index][1], size),
        read_mask=mask if have_masks else None,  # type: ignore[arg-type]
        are_files=True,
    )
