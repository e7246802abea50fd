"""Metadata folder source: images with a `metadata` table, as Hugging Face lays them out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vision_attn.core.errors import UserError
from vision_attn.data.sources.files import SPLIT_ALIASES
from vision_attn.data.sources.image_table import ImageTable, TablePart
from vision_attn.data.sources.table_columns import find_columns
from vision_attn.data.sources.table_rows import read_table

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


class MetadataFolder(ImageTable):
    """Images whose classes are in a `metadata` table in their folder, or in each split's folder.

    This is the layout of `datasets.load_dataset("imagefolder")`: `train/metadata.csv` with the
    columns `file_name` and `label`, for example. Paths are relative to the table's folder.

    Args:
        root: the data folder.
        path_column: the column of the file paths; None takes a usual name, such as `file_name`.
        label_column: the column of the classes; None takes a usual name, such as `label`.
        default_split: the split of a table in the data folder itself that has no column of splits.
        truth: object locations (ground truth): a CSV of boxes, or a folder of masks.
        follow_links: whether to read files that are symbolic links to files outside the folder.

    Raises:
        UserError: as `ImageTable`; or there is no such table.
    """

    def __init__(
        self,
        root: str,
        path_column: str | None = None,
        label_column: str | None = None,
        default_split: Literal["train", "val", "test"] = "train",
        truth: str | None = None,
        follow_links: bool = False,
    ) -> None:
        super().__init__(
            root, root, path_column, label_column, None, default_split, truth, follow_links
        )

    def parts(self) -> list[TablePart]:
        """The tables in the folder, each with its split."""
        found = metadata_tables(self.table)
        if not found:
            raise UserError(f"{self.table} has none of {', '.join(NAMES)}.")
        return found


def metadata_tables(root: Path) -> list[TablePart]:
    """The metadata tables of a data folder: its own, else those of its split folders."""
    if not root.is_dir():
        return []
    own = table_in(root)
    if own is not None:
        return [TablePart(own)]
    folders = {folder.name.lower(): folder for folder in sorted(root.iterdir()) if folder.is_dir()}
    return [
        TablePart(table, folders[name].name, split)
        for split, names in SPLIT_ALIASES.items()
        for name in names
        if name in folders and (table := table_in(folders[name])) is not None
    ]


def table_in(folder: Path) -> Path | None:
    """The metadata table in a folder; None if there is none."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def name_classes(tables: Sequence[TablePart]) -> bool:
    """Whether there are metadata tables, all with columns of paths and classes."""
    try:
        for part in tables:
            find_columns(part.file, read_table(part.file)[0], None, None, None)
    except UserError:
        return False
    return bool(tables)
