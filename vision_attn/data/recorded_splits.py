"""Splits as a run's `split.csv` tells them, so that no image it was trained on is scored."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vision_attn.data.sources.files import USUAL_NAMES
from vision_attn.data.sources.image_table import read_rows
from vision_attn.data.split import Split

Place = tuple[Split, int]
"""An image: a split that has it, and where."""


def read_record(place: Path) -> dict[str, str]:
    """The split of each file, which is named as seen from the folder of the data.

    Raises:
        UserError: the file is damaged.
    """
    rows = read_rows(place, None, "label", "split")
    return {row.path: row.split for row in rows if row.split in USUAL_NAMES}


def as_recorded(
    found: Mapping[str, Split], record: Mapping[str, str], root: Path
) -> tuple[dict[str, Split], list[str]]:
    """The images of a source in the splits that a record tells, and a line on each difference.

    What the record does not know stays in the validation or test split that the source itself has
    for it. Among training images it is left out: it would be cut into other splits by another
    seed, or by other neighbours.

    Args:
        found: the source's own splits.
        record: the split of each file.
        root: the folder of the data.
    """
    splits: dict[str, list[Place]] = {name: [] for name in USUAL_NAMES}
    unknown = 0
    moved: Counter[str] = Counter()
    left = Counter(record.values())
    for own, split in found.items():
        for index, name in enumerate(split.names):
            kept = record.get(os.path.relpath(name, root))
            left[kept or ""] -= kept is not None
            if kept is None and own == "train":
                unknown += 1
            else:
                splits[kept or own].append((split, index))
            moved[own] += kept == "train" and own != "train"
    lines = list(differences(left, moved, unknown))
    return {name: joined(places) for name, places in splits.items() if places}, lines


def differences(left: Counter[str], moved: Counter[str], unknown: int) -> Iterator[str]:
    """A line on what is gone, what the run was trained on, and what is new.

    >>> for line in differences(Counter(test=1), Counter(val=1), 3):
    ...     print(line)
    of the test images that the run kept 1 is gone
    of the val images 1 was trained on: left out
    of the images 3 are new since the run began: left out
    """
    for name, count in left.items():
        if count > 0 and name != "train":
            verb = "is" if count == 1 else "are"
            yield f"of the {name} images that the run kept {count} {verb} gone"
    for name, count in moved.items():
        if count:
            verb = "was" if count == 1 else "were"
            yield f"of the {name} images {count} {verb} trained on: left out"
    if unknown:
        verb = "is" if unknown == 1 else "are"
        yield f"of the images {unknown} {verb} new since the run began: left out"


def joined(places: Sequence[Place]) -> Split:
    """Images of several splits as one."""
    masked = all(split.read_mask is not None for split, _ in places)

    def mask(index: int, size: int) -> object:
        split, place = places[index]
        assert split.read_mask is not None
        return split.read_mask(place, size)

    return Split(
        names=[split.names[place] for split, place in places],
        labels=[split.labels[place] for split, place in places],
        read=lambda index, size: places[index][0].read(places[index][1], size),
        read_mask=mask if masked else None,  # type: ignore[arg-type]
        are_files=True,
    )
