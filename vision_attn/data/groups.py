"""Groups of related images, which the automatic split keeps on one side."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vision_attn.core.errors import UserError
from vision_attn.data.checks.image_stats import SIDE
from vision_attn.data.checks.perceptual_hash import Bytes, groups_of_alike
from vision_attn.data.io.decode import in_memory
from vision_attn.data.shot_groups import shot_groups
from vision_attn.data.split import Split

MAX_IMAGES = 20_000  # compared within a minute or two; larger sets are left to `vision-attn check`
CHUNK_SIZE = 500  # images turned into thumbnails at a time
READ_SIZE = 8 * SIDE  # pixels per side of the images that are compared
Column = Callable[[str], Mapping[str, str] | None]
"""The values of a column by its name, by file; None if there is no such column."""
UNUSED = "--data.group is not used, since the data has its own validation images"


class Groups(NamedTuple):
    """A group for each image of a split.

    Attributes:
        of_image: the number of its group.
        line: what was found, for the user; empty if nothing is related.
        found: whether they are near duplicates that were found, not groups that were typed.
    """

    of_image: list[int]
    line: str
    found: bool = False


def groups_of(split: Split, group: str | None, column: Column, sides: int) -> Groups:
    """The group of each image of a split that is to be cut into `sides` splits.

    Args:
        split: the images.
        group: as in `typed_groups`; None finds near duplicates.
        column: as in `typed_groups`.
        sides: how many splits there will be.

    Raises:
        UserError: the groups cannot be found, or a class has too few of them.
    """
    found = near_duplicates(split) if group is None else typed_groups(split, group, column)
    return divisible(found, split.labels, group, sides)


def typed_groups(split: Split, group: str, column: Column) -> Groups:
    """The groups of `--data.group`: the values of a column, folders, or a regular expression.

    Args:
        split: the images.
        group: "none", "folder", "shots", the name of a column, or a regular expression that is
            searched in file names; its first group, or the whole match, names the group of images.
        column: looks up a column; called only if the name may be one.

    Raises:
        UserError: it is neither a column nor a valid expression, or it matches no file name.

    >>> from vision_attn.data.split import Split
    >>> names = ["cats/tom_1.png", "cats/tom_2.png", "cats/new.png"]
    >>> split = Split(names, ["cats"] * 3, lambda index, size: None)
    >>> typed_groups(split, "([a-z]+)_", lambda name: None).of_image
    [0, 0, 1]
    """
    if group == "none":
        return Groups(list(range(len(split))), "")
    if group == "folder":
        keys = [str(Path(name).parent) for name in split.names]
    elif group == "shots":
        keys = shot_groups(split.names)
    elif (values := column(group)) is not None:
        keys = [f"={values[name]}" if values.get(name) else name for name in split.names]
    else:
        keys = matches(split.names, group)
    numbers: dict[str, int] = {}
    of_image = [numbers.setdefault(key, len(numbers)) for key in keys]
    line = f"{len(split)} images in {len(numbers)} groups by '{group}', each kept in one split"
    return Groups(of_image, line)


def matches(names: Sequence[str], pattern: str) -> list[str]:
    """What an expression matches in each file name; the whole path where it does not match.

    Raises:
        UserError: it is not valid, or matches no name.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"--data.group '{pattern}' is neither 'folder', 'shots', 'none' nor a column, and as a "
            f"regular expression it is not valid: {error}."
        ) from None
    found = [expression.search(Path(name).name) for name in names]
    if not any(found):
        raise UserError(
            f"--data.group '{pattern}' is no column, and matches none of {len(names)} file names "
            f"(the first: {Path(names[0]).name})."
        )
    return [
        name if match is None else f"={match[1] if expression.groups else match[0]}"
        for name, match in zip(names, found, strict=True)
    ]


def near_duplicates(split: Split) -> Groups:
    """Groups of files that look the same: copies, and shots of one scene that are nearly equal."""
    of_image = list(range(len(split)))
    if not split.are_files:
        return Groups(of_image, "")
    if len(split) > MAX_IMAGES:
        line = f"more than {MAX_IMAGES} images are not searched for near duplicates"
        return Groups(of_image, f"{line} (`vision-attn check` does)", found=True)
    decoded = in_memory(split, READ_SIZE, "comparing")
    for index in decoded.unreadable:
        decoded.images[index] = 0  # a single color, which is not compared
    alike = groups_of_alike(thumbnails_of(decoded.images))
    for group in alike:
        for index in group:
            of_image[index] = group[0]
    line = (
        f"{sum(map(len, alike))} images look the same as another one: {len(alike)} groups, each "
        "kept in one split (at random: --data.group none)"
    )
    return Groups(of_image, line if alike else "", found=True)


def thumbnails_of(images: Tensor) -> Bytes:
    """Grayscale thumbnails (N, 9, 9) of images (N, 3, H, W), all uint8."""
    chunks = []
    for chunk in images.split(CHUNK_SIZE):
        gray = chunk.float().mean(1, keepdim=True)
        chunks.append(interpolate(gray, (SIDE, SIDE), mode="bilinear", antialias=True).squeeze(1))
    return cast(Bytes, torch.cat(chunks).round().byte().numpy())


def divisible(groups: Groups, labels: Sequence[str], group: str | None, sides: int) -> Groups:
    """Groups such that every class can be on all sides of a split.

    Found near duplicates of a class that has too few groups are separated, and the line says so.

    Args:
        groups: a group for each image.
        labels: the class of each image.
        group: `--data.group`, for the message.
        sides: how many splits there will be.

    Raises:
        UserError: a class has fewer typed groups than there will be splits.
    """
    of_class: dict[str, set[int]] = {}
    for label, number in zip(labels, groups.of_image, strict=True):
        of_class.setdefault(label, set()).add(number)
    images = Counter(labels)
    few = sorted(name for name, found in of_class.items() if len(found) < min(sides, images[name]))
    if not few:
        return groups
    if not groups.found:
        raise UserError(
            f"class '{few[0]}' has {len(of_class[few[0]])} group(s) of images by --data.group "
            f"'{group}', too few for {sides} splits; add images, or provide a val folder."
        )
    apart = set(few)
    of_image = [
        index if label in apart else number
        for index, (label, number) in enumerate(zip(labels, groups.of_image, strict=True))
    ]
    more = f" and {len(few) - 1} more" if len(few) > 1 else ""
    line = f"{groups.line}; those of '{few[0]}'{more} are split at random, since all look the same"
    return groups._replace(of_image=of_image, line=line)
