"""Tables of images in memory, such as a pandas DataFrame, as a CSV file in the run folder."""

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
    """Columns by name, as a DataFrame or a dictionary has them: path, label, perhaps split."""

    def __getitem__(self, name: str, /) -> Iterable[object]:
        """The values of a column."""

    def __contains__(self, name: object, /) -> bool:
        """Whether there is such a column."""


def write_table(rows: ImageRows, path: Path) -> Path:
    """Write rows as a table with absolute paths.

    Args:
        rows: columns `path` (seen from the current folder), `label`, and perhaps `split`.
        path: the CSV file to write.

    Raises:
        UserError: there is no column `path` or `label`, or columns differ in length.
    """
    columns = [name for name in COLUMNS if name in rows]
    missing = [name for name in COLUMNS[:2] if name not in columns]
    if missing:
        raise UserError(f"data: the table has no column '{missing[0]}'.")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    try:
        for image, *others in zip(*(rows[name] for name in columns), strict=True):
            writer.writerow([os.path.abspath(str(image)), *others])  # noqa: PTH100 - keeps links
    except ValueError:
        raise UserError("data: the columns of the table differ in length.") from None
    write_text(path, text.getvalue())
    return path
