"""Write an image table in memory, such as a pandas DataFrame, as a CSV file in the run folder."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from vision_attn.core.atomic import write_text
from vision_attn.core.errors import UserError

COLUMNS = ("path", "label", "split")


class ImageRows(Protocol):
    """A table with columns `path`, `label` and optionally `split`: a DataFrame or a dictionary."""

    def __getitem__(self, name: str, /) -> Iterable[object]:
        """The values of a column."""

    def __contains__(self, name: object, /) -> bool:
        """Whether there is such a column."""


def write_table(rows: ImageRows, table: Path) -> Path:
    """Write an image table as CSV with relative paths; returns the folder they are relative to.

    Args:
        rows: columns `path` (relative to the current folder), `label`, and optionally `split`.
        table: the CSV file to write.

    Returns:
        The common folder of all images, to which the paths in the table are relative.

    Raises:
        UserError: a column is missing, columns differ in length, or there are no rows.
    """
    columns = [name for name in COLUMNS if name in rows]
    missing = [name for name in COLUMNS[:2] if name not in columns]
    if missing:
        raise UserError(f"data: the table has no column '{missing[0]}'.")
    try:
        listed = list(zip(*(rows[name] for name in columns), strict=True))
    except ValueError:
        raise UserError("data: the columns of the table differ in length.") from None
    if not listed:
        raise UserError("data: the table has no rows.")
    images = [os.path.abspath(str(image)) for image, *_ in listed]  # noqa: PTH100 - keeps links
    root = Path(os.path.commonpath([os.path.dirname(image) for image in images]))  # noqa: PTH120
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for image, (_, *others) in zip(images, listed, strict=True):
        writer.writerow([os.path.relpath(image, root), *others])
    write_text(table, text.getvalue())
    return root
