"""The train/val/test splits of a run in its `split.csv`, to score held-out images only.

This avoids data leakage if files were added, moved, renamed or removed since the training. An
image is recognized by its path relative to the data folder, and by its content.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vision_attn.core.errors import UserError
from vision_attn.data.content_id import content_id, size_of
from vision_attn.data.sources.files import SPLIT_ALIASES
from vision_attn.data.sources.table_columns import RECORD_HEADER
from vision_attn.data.sources.table_rows import read_rows
from vision_attn.data.split import Places, Split

ImageRef = tuple[Split, int]
"""One image: a split that contains it, and its index in that split."""


class Recorded(NamedTuple):
    """One image of a run: its split, and its identity ("" in files of older versions)."""

    split: str
    identity: str


@dataclass(frozen=True)
class Record:
    """The images of a run.

    Attributes:
        by_path: by their path relative to the data folder.
        by_content: by their identity.
    """

    by_path: Mapping[str, Recorded]
    by_content: Mapping[str, Recorded]

    def at(self, relative: str, path: str) -> Recorded | None:
        """The image that was recorded under this path, if the file is still as large."""
        found = self.by_path.get(relative)
        if found and (not found.identity or same_size(path, found.identity)):
            return found
        return None

    def lost(self, relative: Collection[str]) -> dict[str, Recorded]:
        """The recorded images whose paths are not among these, by their identity."""
        gone = (image for path, image in self.by_path.items() if path not in relative)
        return {image.identity: image for image in gone if image.identity}


def same_size(path: str, identity: str) -> bool:
    """Whether a file is as large as the one that was recorded."""
    try:
        return str(Path(path).stat().st_size) == size_of(identity)
    except OSError:
        return False


def as_record(splits: Mapping[str, Split], root: Path) -> str:
    """The file, label, split and identity of each image as the text of a `split.csv`."""
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(RECORD_HEADER)
    for name, split in splits.items():
        for path, label in zip(split.names, split.labels, strict=True):
            row = (os.path.relpath(path, root), label, name, content_id(path))
            # Python quotes a carriage return only from 3.13 on.
            (quoted if any("\r" in cell for cell in row) else plain).writerow(row)
    return text.getvalue()


def read_record(path: Path) -> Record:
    """Read a `split.csv`.

    Raises:
        UserError: the file is damaged.
    """
    rows = [row for row in read_rows(path, "file", "label", "split") if row.split in SPLIT_ALIASES]
    by_path = {row.path: Recorded(row.split, row.identity) for row in rows}
    # Of equal files in several splits, that of the training images counts.
    order = ("test", "val", "train")
    by_content = {
        row.identity: Recorded(row.split, row.identity)
        for row in sorted(rows, key=lambda row: order.index(row.split))
        if row.identity
    }
    return Record(by_path, by_content)


def as_recorded(
    found: Mapping[str, Split], record: Record, root: Path
) -> tuple[dict[str, Split], list[str]]:
    """Sort the images of a source into the recorded splits, and describe every difference.

    Images that are not in the record stay in the validation or test split that the source itself
    puts them into. New training images are left out: with another seed, or with other images
    around them, they would be cut into other splits.

    Args:
        found: the source's own splits.
        record: the images of the run.
        root: the data folder.

    Returns:
        the splits, and one line of text per kind of difference.
    """
    splits: dict[str, list[ImageRef]] = {name: [] for name in SPLIT_ALIASES}
    unknown = 0
    leaked: Counter[str] = Counter()
    missing = Counter(image.split for image in record.by_path.values())
    present = {os.path.relpath(name, root) for split in found.values() for name in split.names}
    renamed = record.lost(present)
    for own, split in found.items():
        for index, name in enumerate(split.names):
            image = record.at(os.path.relpath(name, root), name)
            if image is None and renamed:
                image = renamed.pop(content_id(name), None)
            recorded = image.split if image else None
            missing[recorded or ""] -= recorded is not None
            if recorded is None and own == "train":
                unknown += 1
            else:
                splits[recorded or own].append((split, index))
            leaked[own] += recorded == "train" and own != "train"
    lines = list(describe_differences(missing, leaked, unknown))
    return {name: merge(images) for name, images in splits.items() if images}, lines


def held_out_of(split: Split, stage: str, record: Record, root: Path) -> tuple[Split, list[str]]:
    """Of images that the user names, those that the run was not trained on or selected by.

    Args:
        split: the images.
        stage: "val" or "test": images that the run had in another split are left out.
        record: the images of the run.
        root: the folder of the images, from which their relative paths start.

    Returns:
        the images, and one line of text per kind of difference.

    Raises:
        UserError: none is left.
    """
    kept: list[ImageRef] = []
    left_out: Counter[str] = Counter()
    for index, name in enumerate(split.names):
        identity = content_id(name)
        image = record.by_path.get(os.path.relpath(name, root))
        if image is None or image.identity not in ("", identity):  # "": recorded by path alone
            image = record.by_content.get(identity)
        if image is not None and image.split != stage:
            left_out[image.split] += 1
        else:
            kept.append((split, index))
    lines = [
        f"{count} of these {len(split)} images were the run's {name} images: left out"
        for name, count in left_out.items()
    ]
    if not kept:
        raise UserError(
            f"all of these {len(split)} images were used by the run "
            f"({', '.join(f'{count} for {name}' for name, count in left_out.items())}); "
            f"name images that it has not seen."
        )
    return merge(kept), lines


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
    places = Places(images)
    have_masks = all(split.read_mask is not None for split, _ in images)
    return Split(
        names=[split.names[own_index] for split, own_index in images],
        labels=[split.labels[own_index] for split, own_index in images],
        read=places.read,
        read_mask=places.read_mask if have_masks else None,
        are_files=True,
    )
