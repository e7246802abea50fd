"""Write predictions to a table: CSV, JSON Lines or Parquet, atomically and with resume.

Rows are written to FILE.part, which is renamed to FILE when it has all rows, so FILE is always
complete. An interrupted prediction leaves FILE.part and can be resumed from it.
"""

import csv
import io
import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vision_attn.core.atomic import atomic_write
from vision_attn.core.errors import UserError, did_you_mean, first_line
from vision_attn.core.spreadsheet import text_cell
from vision_attn.core.terminal import UNPRINTABLE, printable
from vision_attn.inference.prediction import Prediction

COLUMNS = ("file", "predicted", "probability", "error")
Row = dict[str, Any]


class RowFormat(ABC):
    """A text format with one line per prediction."""

    def __init__(self, class_names: list[str]) -> None:
        self.columns = [*COLUMNS, *(f"p_{printable(name)}" for name in class_names)]

    def text(self, name: str) -> str:
        """A file or class name as it is in a row."""
        return printable(name)

    def probability_of(self, name: str, prediction: Prediction) -> float:
        """The probability that an image has now of the class that a row names; or NaN."""
        named = prediction.probabilities.items()
        return next((value for key, value in named if name in (key, self.text(key))), math.nan)

    @abstractmethod
    def header(self) -> str:
        """The lines before the first row."""

    @abstractmethod
    def line(self, prediction: Prediction) -> str:
        """Format a prediction as a line."""

    @abstractmethod
    def parse_line(self, line: str) -> Row:
        """Parse the first columns of a line.

        Raises:
            ValueError, KeyError, TypeError: the line is not a row of this table.

        >>> json_lines = JsonLinesFormat(["cat", "dog"])
        >>> prediction = Prediction.of(Path("a.jpg"), ["cat", "dog"], [0.25, 0.75])
        >>> json_lines.parse_line(json_lines.line(prediction))["predicted"]
        'dog'
        """


class CsvFormat(RowFormat):
    r"""Comma-separated values: file, predicted, probability, error, p_CLASS, ...

    >>> table = CsvFormat(["cat", "dog"])
    >>> table.header()
    'file,predicted,probability,error,p_cat,p_dog\n'
    >>> table.line(Prediction.of(Path("a,b.jpg"), ["cat", "dog"], [0.25, 0.75]))
    '"a,b.jpg",dog,0.75,,0.25,0.75\n'
    """

    def text(self, name: str) -> str:
        """A name, error or class; see `text_cell` on formulas."""
        return text_cell(printable(name))

    def header(self) -> str:
        """The line with the column names."""
        return csv_line(self.columns)

    def line(self, prediction: Prediction) -> str:
        """Format a prediction as a line; missing values are empty."""
        start = [self.text(str(prediction.path)), self.text(prediction.class_name)]
        if prediction.error is not None:
            blanks = [""] * (len(self.columns) - len(COLUMNS))
            return csv_line([*start, "", self.text(prediction.error), *blanks])
        probabilities = map(format_probability, prediction.probabilities.values())
        return csv_line([*start, format_probability(prediction.probability), "", *probabilities])

    def parse_line(self, line: str) -> Row:
        """Parse the first columns of a line."""
        try:
            (cells,) = csv.reader([line])
        except csv.Error as error:
            raise ValueError(str(error)) from None
        if len(cells) != len(self.columns):
            raise ValueError("the number of columns is wrong")
        row: Row = dict(zip(COLUMNS, cells, strict=False))
        row["probability"] = float(row["probability"]) if row["probability"] else None
        return row | {"error": row["error"] or None}


class ParquetFormat(CsvFormat):
    """CSV that is converted to Parquet in the end, so names are as they are."""

    def text(self, name: str) -> str:
        """A file or class name as it is in a row."""
        return printable(name)


class JsonLinesFormat(RowFormat):
    """JSON Lines: file, predicted, probability, error, and probabilities by class."""

    def header(self) -> str:
        """Empty: every line has the names of its values."""
        return ""

    def line(self, prediction: Prediction) -> str:
        """Format a prediction as a line; missing values are null."""
        read = prediction.error is None
        content = {
            "file": printable(str(prediction.path)),
            "predicted": prediction.class_name if read else None,
            "probability": float(format_probability(prediction.probability)) if read else None,
            "error": None if prediction.error is None else printable(prediction.error),
            "probabilities": {
                name: float(format_probability(value))
                for name, value in prediction.probabilities.items()
            },
        }
        # Class names are exact: what would disturb a terminal is escaped as JSON does it.
        text = json.dumps(content, ensure_ascii=False)
        return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"

    def parse_line(self, line: str) -> Row:
        """Parse the first columns of a line."""
        try:
            content = json.loads(line)
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None
        row = {name: content[name] for name in COLUMNS}
        texts = [row[name] for name in ("file", "predicted", "error")]
        if not all(isinstance(text, str | None) for text in texts):
            raise ValueError("the line is not a row of predictions")
        return row | {"probability": float(row["probability"] or 0)}


FORMATS: dict[str, type[RowFormat]] = {
    ".csv": CsvFormat,
    ".jsonl": JsonLinesFormat,
    ".parquet": ParquetFormat,
}


class PredictionWriter:
    """Writes predictions to a table, row by row; an interrupted table can be resumed.

    Args:
        out: the file; its extension sets the format.
        class_names: the model's classes.

    Raises:
        UserError: there is no such format, or a library that it needs is not installed.
    """

    def __init__(self, out: Path, class_names: list[str]) -> None:
        self.out = out
        self.part = out.with_name(f"{out.name}.part")
        self.format = FORMATS[table_format(out)](class_names)
        self.lock = FileLock(out.with_name(f".{out.name}.lock"))
        self.file: io.TextIOWrapper | None = None
        self.rows = 0
        self.flushed = time.monotonic()

    def begin(self) -> None:
        """Start a new table.

        Raises:
            UserError: there are rows of an interrupted prediction, another process writes to this
                table, or the file cannot be written.
        """
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.lock_table()
            self.file = self.part.open("x", encoding="utf-8", errors="backslashreplace", newline="")
        except FileExistsError:
            raise UserError(
                f"--out: {self.part} has the rows of an interrupted prediction; "
                "add --resume to continue it, or delete it."
            ) from None
        except OSError as error:
            raise UserError(f"--out: {self.part}: {error.strerror}.") from None
        self.file.write(self.format.header())
        self.file.flush()

    def resume(self) -> Iterator[Row]:
        """Resume an interrupted table: yield its rows, then remove the last row and partial lines.

        The last row is yielded too, but has to be predicted and added again, so that the caller
        can check that the model still gives the same probability.

        Raises:
            UserError: there is nothing to resume, another process writes to this table, or it
                belongs to a model with other classes.
        """
        if not self.part.is_file() or self.part.is_symlink():  # do not write through a link
            raise UserError(f"--resume: there is no {self.part} to resume from.")
        self.lock_table()
        with self.part.open("rb") as file:
            header = self.format.header().encode()
            start_of_file = file.read(len(header))
            if len(start_of_file) < len(header) and header.startswith(start_of_file):
                self.part.write_bytes(header)  # interrupted before the first row
            elif start_of_file != header:
                raise UserError(f"--resume: {self.part} belongs to a model with other classes.")
            start = end = len(header)  # of the last complete row
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    row = self.format.parse_line(line.decode())
                except (ValueError, KeyError, TypeError):
                    raise UserError(f"--resume: {self.part} is damaged; delete it.") from None
                start, end = end, end + len(line)
                self.rows += 1
                yield row
        os.truncate(self.part, start)
        self.file = self.part.open("a", encoding="utf-8", errors="backslashreplace", newline="")

    def lock_table(self) -> None:
        """Lock the table against other processes until it is closed.

        Raises:
            UserError: another process has the lock.
        """
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"--out: another process is writing to {self.out}.") from None

    def add(self, prediction: Prediction) -> None:
        """Write a row; rows are flushed about once per second, in case the process is killed."""
        assert self.file is not None
        self.file.write(self.format.line(prediction))
        self.rows += 1
        if time.monotonic() - self.flushed > 1:
            self.file.flush()
            self.flushed = time.monotonic()

    def close(self) -> None:
        """Close the table and release the lock; the rows so far are kept, to resume from them."""
        try:
            if self.file is not None:
                self.file.close()
        finally:
            if self.file is not None and not self.rows:
                self.part.unlink(missing_ok=True)
            if self.lock.is_locked:
                Path(self.lock.lock_file).unlink(missing_ok=True)
                self.lock.release()

    def finish(self) -> None:
        """Rename FILE.part, which has all rows now, to FILE; or convert it to Parquet.

        Raises:
            UserError: FILE exists by now.
        """
        assert self.file is not None
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        if self.out.exists():
            raise UserError(f"--out: {self.out} exists by now; the rows are in {self.part}.")
        if self.out.suffix.lower() == ".parquet":
            write_parquet(self.part, self.out, self.format.columns)
            self.part.unlink()
        else:
            self.part.replace(self.out)


def write_parquet(part: Path, out: Path, columns: list[str]) -> None:
    """Convert a CSV file to a Parquet file, atomically and in blocks, in bounded memory."""
    import pyarrow
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    texts = {"file", "predicted", "error"}
    schema = pyarrow.schema(
        [(name, pyarrow.string() if name in texts else pyarrow.float32()) for name in columns]
    )
    rows = arrow_csv.open_csv(
        part,
        # A block must hold at least one row, and a row may have many classes.
        read_options=arrow_csv.ReadOptions(block_size=2**24, use_threads=False),
        convert_options=arrow_csv.ConvertOptions(
            column_types=schema, null_values=[""], strings_can_be_null=True
        ),
    )

    def write(temporary: Path) -> None:
        with rows, parquet.ParquetWriter(temporary, schema) as writer:
            for batch in rows:
                writer.write_batch(batch)

    atomic_write(out, write)


def table_format(out: Path) -> str:
    """The file extension of a table, which sets its format.

    Raises:
        UserError: there is no such format, or a library that it needs is not installed.
    """
    kind = out.suffix.lower()
    if kind not in FORMATS:
        hint = did_you_mean(kind, FORMATS)
        raise UserError(f"--out: {out} does not end in {', '.join(FORMATS)}.{hint}")
    if kind == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401 - fail before hours of prediction, not after
        except ImportError as error:
            raise UserError(
                f"--out: Parquet needs pyarrow ({first_line(error)}): "
                "pip install 'vision-attn[parquet]'"
            ) from None
    return kind


def csv_line(cells: list[str]) -> str:
    """Format cells as a line of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def format_probability(probability: float) -> str:
    """Format a probability with the 9 digits that identify a float32.

    >>> format_probability(0.1), format_probability(1e-12)
    ('0.1', '1e-12')
    """
    return f"{probability:.9g}"
