"""Read the rows of an image table from a Parquet file."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vision_attn.core.errors import UserError, first_line

if TYPE_CHECKING:  # an extra
    from pyarrow.parquet import FileMetaData, ParquetFile

PARQUET = (".parquet", ".pq")
MAX_ROWS = 5_000_000  # of a Parquet file
MAX_DECODED = 2**29  # bytes of a Parquet file in memory
MAX_CELL = 2**15  # characters of a cell
BATCH = 1024  # rows of a Parquet file that are decoded at once

Lines = Iterator[tuple[int, Sequence[str]]]
"""Line numbers and cells, which are stripped of surrounding spaces."""


def read_parquet(table: Path) -> tuple[list[str], Lines]:
    """Column names and rows of a Parquet file as text; skips columns of bytes, lists or structs."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
        from pyarrow.types import is_binary, is_large_binary, is_nested
    except ImportError:
        raise UserError(
            "Parquet files need an extra library: pip install 'vision-attn[parquet]'"
        ) from None
    kinds = (is_binary, is_large_binary, is_nested)
    try:
        file = ParquetFile(table)
        texts = [f.name for f in file.schema_arrow if not any(kind(f.type) for kind in kinds)]
        if file.metadata.num_rows > MAX_ROWS:  # equal rows take no space in a Parquet file
            raise UserError(f"{table} has more than {MAX_ROWS:,} rows; split it.")
        if decoded_size(file.metadata) > MAX_DECODED:
            raise UserError(f"{table} takes more than {MAX_DECODED >> 20} MiB in memory; split it.")
        file = ParquetFile(table, read_dictionary=texts)  # equal cells stay one in memory
        rows = parquet_rows(table, file, texts)
        first = next(rows, None)
    except (ArrowException, OSError) as error:
        raise UserError(f"{table} is not a Parquet file ({first_line(error)[:120]}).") from error
    return texts, enumerate(rows if first is None else chain([first], rows), start=1)


def decoded_size(metadata: "FileMetaData") -> int:
    """Bytes of a Parquet file's columns, without compression."""
    groups = range(metadata.num_row_groups)
    return sum(metadata.row_group(group).total_byte_size for group in groups)


def parquet_rows(table: Path, file: "ParquetFile", texts: list[str]) -> Iterator[list[str]]:
    """The rows of a Parquet file as text, some at a time.

    Raises:
        UserError: a cell is out of all proportion.
    """
    for batch in file.iter_batches(BATCH, columns=texts):
        columns = []
        for column in batch.columns:
            values = getattr(column, "dictionary", column)
            if values.nbytes > MAX_DECODED or any(
                len(str(value)) > MAX_CELL for value in values.to_pylist()
            ):
                raise UserError(f"{table} has a cell of more than {MAX_CELL:,} characters.")
            columns.append(column.to_pylist())
        for row in zip(*columns, strict=True):
            yield ["" if cell is None else str(cell).strip() for cell in row]
