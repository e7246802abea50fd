"""Group photographs that were shot one after the other, by their times or by numbers in names."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags

from vision_attn.core.parallel import threaded_map
from vision_attn.data.io.image import open_header

GAP = 60  # seconds without a shot after which another group begins
TIME_FORMAT = "%Y:%m:%d %H:%M:%S"  # of EXIF
NUMBER = re.compile(r"(\d+)(?!.*\d)")  # the last number in a name


class Shot(NamedTuple):
    """When and as which number a photograph was taken.

    Attributes:
        name: its path.
        folder: its folder.
        time: in seconds; None if its file does not say.
        prefix: its name without the number.
        number: the last number in its name; None if there is none.
    """

    name: str
    folder: str
    time: float | None
    prefix: str
    number: int | None


def shot_groups(names: Sequence[str]) -> list[str]:
    """A key for the group of each photograph: the name of its first shot.

    Within a folder, a shot belongs to the group of the one before it if it was taken at most a
    minute later. Where a file has no time, the numbers in both names must follow each other.

    >>> shot_groups(["a/img_9.png", "a/img_7.png", "a/img_8.png", "a/img_11.png", "b/img_10.png"])
    ['a/img_7.png', 'a/img_7.png', 'a/img_7.png', 'a/img_11.png', 'b/img_10.png']
    """
    shots = sorted(threaded_map(shot_of, names), key=order)
    key_of: dict[str, str] = {}
    for before, shot in pairwise([None, *shots]):
        assert shot is not None
        follows = before is not None and follows_on(before, shot)
        key_of[shot.name] = key_of[before.name] if before and follows else shot.name
    return [key_of[name] for name in names]


def order(shot: Shot) -> tuple[object, ...]:
    """Sort key: by folder, then by time, then by prefix and number."""
    number = -1 if shot.number is None else shot.number
    return shot.folder, shot.time is None, shot.time or 0.0, shot.prefix, number, shot.name


def follows_on(before: Shot, shot: Shot) -> bool:
    """Whether a shot belongs to the group of the one that is sorted before it."""
    if before.folder != shot.folder:
        return False
    if before.time is not None and shot.time is not None:
        return shot.time - before.time <= GAP
    if before.number is None or shot.number is None or before.prefix != shot.prefix:
        return False
    return shot.number - before.number <= 1


def shot_of(name: str) -> Shot:
    """Time and number of a photograph."""
    path = Path(name)
    found = NUMBER.search(path.stem)
    prefix = path.stem if found is None else path.stem[: found.start()] + path.stem[found.end() :]
    number = None if found is None else int(found[1])
    return Shot(name, str(path.parent), next(times_of(path), None), prefix, number)


def times_of(path: Path) -> Iterator[float]:
    """The times in the EXIF data of a file, in seconds: when it was shot, or written."""
    try:
        with open_header(path) as file:
            exif = file.getexif()
            texts = (
                exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal),
                exif.get(ExifTags.Base.DateTime),
            )
    except OSError:
        return
    for text in texts:
        try:
            yield (datetime.strptime(str(text), TIME_FORMAT) - datetime(1970, 1, 1)).total_seconds()
        except ValueError:  # no time, or one that is damaged
            continue
