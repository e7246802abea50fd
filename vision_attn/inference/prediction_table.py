"""Predictions as rows of a file: CSV, JSON Lines or Parquet.

Rows go into FILE.part as they come, and that becomes FILE when all are there: FILE is whole or not
there at all. What was interrupted leaves FILE.part, from which it can go on.
"""

import csv
import io
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vision_attn.core.errors import UserError, did_you_mean, first_line
from vision_attn.inference.prediction import Prediction

COLUMNS = ("file", "predicted", "probability", "error")
Row = dict[str, Any]


class RowFormat(ABC):
    """How predictions are written a line each."""

    def __init__(self, class_names: list[str]) -> None:
        self.columns = [*COLUMNS, *(f"p_{printable(name)}" for name in class_names)]

    @abstractmethod
    def head(self) -> str:
        """What stands above the rows."""

    @abstractmethod
    def line(self, prediction: Prediction) -> str:
        """A row."""

    @abstractmethod
    def row(self, line: str) -> Row:
        """The first columns of a line; ValueError if it is none.

        >>> lines = JsonLinesFormat(["cat", "dog"])
        >>> chosen = Prediction.of(Path("a.jpg"), ["cat", "dog"], [0.25, 0.75])
        >>> lines.row(lines.line(chosen))["predicted"]
        'dog'
        """


class CsvFormat(RowFormat):
    r"""Comma-separated values: file, predicted, probability, error, p_CLASS, ...

    >>> lines = CsvFormat(["cat", "dog"])
    >>> lines.head()
    'file,predicted,probability,error,p_cat,p_dog\n'
    >>> lines.line(Prediction.of(Path("a,b.jpg"), ["cat", "dog"], [0.25, 0.75]))
    '"a,b.jpg",dog,0.75,,0.25,0.75\n'
    """

    def head(self) -> str:
        """The names of the columns."""
        return joined(self.columns)

    def line(self, prediction: Prediction) -> str:
        """A row; what is unknown is empty."""
        start = [printable(str(prediction.path)), printable(prediction.class_name)]
        if prediction.error is not None:
            blanks = [""] * (len(self.columns) - len(COLUMNS))
            return joined([*start, "", printable(prediction.error), *blanks])
        probabilities = map(short, prediction.probabilities.values())
        return joined([*start, short(prediction.probability), "", *probabilities])

    def row(self, line: str) -> Row:
        """The first columns."""
        try:
            (cells,) = csv.reader([line])
        except csv.Error as error:
            raise ValueError(str(error)) from None
        if len(cells) != len(self.columns):
            raise ValueError("it has another number of columns")
        found: Row = dict(zip(COLUMNS, cells, strict=False))
        found["probability"] = float(found["probability"]) if found["probability"] else None
        return found | {"error": found["error"] or None}


class JsonLinesFormat(RowFormat):
    """JSON Lines: file, predicted, probability, error, and probabilities by class."""

    def head(self) -> str:
        """Nothing: every line names its values."""
        return ""

    def line(self, prediction: Prediction) -> str:
        """A row; what is unknown is null."""
        read = prediction.error is None
        content = {
            "file": printable(str(prediction.path)),
            "predicted": prediction.class_name if read else None,
            "probability": float(short(prediction.probability)) if read else None,
            "error": None if prediction.error is None else printable(prediction.error),
            "probabilities": {
                name: float(short(chance)) for name, chance in prediction.probabilities.items()
            },
        }
        return json.dumps(content, ensure_ascii=False) + "\n"

    def row(self, line: str) -> Row:
        """The first columns."""
        try:
            content = json.loads(line)
        except RecursionError:
            raise ValueError("it is too deep") from None
        found = {name: content[name] for name in COLUMNS}
        texts = [found[name] for name in ("file", "predicted", "error")]
        if not all(isinstance(text, str | None) for text in texts):
            raise ValueError("it is no row")
        return found | {"probability": float(found["probability"] or 0)}


FORMATS: dict[str, type[RowFormat]] = {
    ".csv": CsvFormat,
    ".jsonl": JsonLinesFormat,
    ".parquet": CsvFormat,
}


class PredictionWriter:
    """A file of predictions that is being written.

    Args:
        out: the file; its ending says which kind.
        class_names: the model's.

    Raises:
        UserError: there is no such kind, or what it needs is not installed.
    """

    def __init__(self, out: Path, class_names: list[str]) -> None:
        self.out = out
        self.part = out.with_name(f"{out.name}.part")
        self.lines = FORMATS[kind_of(out)](class_names)
        self.lock = FileLock(out.with_name(f".{out.name}.lock"))
        self.file: io.TextIOWrapper | None = None
        self.rows = 0
        self.flushed = time.monotonic()

    def begin(self) -> None:
        """Start with no rows.

        Raises:
            UserError: there are rows of an interrupted prediction, another process predicts into
                this file, or the place can't be written.
        """
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.hold()
            self.file = self.part.open("x", encoding="utf-8", newline="")
        except FileExistsError:
            raise UserError(
                f"--out: {self.part} holds rows of an interrupted prediction; "
                "add --resume to go on, or delete it."
            ) from None
        except OSError as error:
            raise UserError(f"--out: {self.part}: {error.strerror}.") from None
        self.file.write(self.lines.head())
        self.file.flush()

    def go_on(self) -> Iterator[Row]:
        """The rows that are there; a line that was cut off is dropped, and so is the last row.

        The last one is given, but is to be predicted and added again: so that one can see whether
        it still comes out the same.

        Raises:
            UserError: there is nothing to go on from, another process goes on, or it is another
                table.
        """
        if not self.part.is_file() or self.part.is_symlink():  # a link would be written through
            raise UserError(f"--resume: there is no {self.part} to go on from.")
        self.hold()
        with self.part.open("rb") as file:
            head = self.lines.head().encode()
            found = file.read(len(head))
            if len(found) < len(head) and head.startswith(found):  # cut off before the first row
                self.part.write_bytes(head)
            elif found != head:
                raise UserError(f"--resume: {self.part} belongs to a model of other classes.")
            start = end = len(head)  # of the last whole row
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    row = self.lines.row(line.decode())
                except (ValueError, KeyError, TypeError):
                    raise UserError(f"--resume: {self.part} is damaged; delete it.") from None
                start, end = end, end + len(line)
                self.rows += 1
                yield row
        os.truncate(self.part, start)
        self.file = self.part.open("a", encoding="utf-8", newline="")

    def hold(self) -> None:
        """Keep other processes from writing rows into the same file, until this one closes it.

        Raises:
            UserError: one does.
        """
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"--out: another process predicts into {self.out} now.") from None

    def add(self, prediction: Prediction) -> None:
        """Write a row. Within a second or so it outlives this process, should that be killed."""
        assert self.file is not None
        self.file.write(self.lines.line(prediction))
        self.rows += 1
        if time.monotonic() - self.flushed > 1:
            self.file.flush()
            self.flushed = time.monotonic()

    def close(self) -> None:
        """Leave the rows so far, if there are any, for another process to go on from."""
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
        """Make the rows the file that was asked for.

        Raises:
            UserError: there is a file of that name by now.
        """
        assert self.file is not None
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        if self.out.exists():
            raise UserError(f"--out: {self.out} was made by another; the rows are in {self.part}.")
        if self.out.suffix.lower() == ".parquet":
            write_parquet(self.part, self.out, self.lines.columns)
            self.part.unlink()
        else:
            self.part.replace(self.out)


def write_parquet(part: Path, out: Path, columns: list[str]) -> None:
    """Turn rows of CSV into a Parquet file, whole or not at all, some thousands at a time."""
    import pyarrow
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    texts = {"file", "predicted", "error"}
    schema = pyarrow.schema(
        [(name, pyarrow.string() if name in texts else pyarrow.float32()) for name in columns]
    )
    converted = out.with_name(f".{out.name}-{os.getpid()}")
    try:
        rows = arrow_csv.open_csv(
            part,
            # A block holds at least one row, and a row may have many classes.
            read_options=arrow_csv.ReadOptions(block_size=2**24, use_threads=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types=schema, null_values=[""], strings_can_be_null=True
            ),
        )
        with rows, parquet.ParquetWriter(converted, schema) as writer:
            for batch in rows:
                writer.write_batch(batch)
        converted.replace(out)
    finally:
        converted.unlink(missing_ok=True)


def kind_of(out: Path) -> str:
    """The ending that says which kind of file is asked for.

    Raises:
        UserError: there is no such kind, or what it needs is not installed.
    """
    kind = out.suffix.lower()
    if kind not in FORMATS:
        hint = did_you_mean(kind, FORMATS)
        raise UserError(f"--out: {out} does not end in {', '.join(FORMATS)}.{hint}")
    if kind == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401 - told before hours of prediction, not after
        except ImportError as error:
            raise UserError(
                f"--out: Parquet needs pyarrow ({first_line(error)}): "
                "pip install 'vision-attn[parquet]'"
            ) from None
    return kind


def joined(cells: list[str]) -> str:
    """Cells as a line of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def printable(name: str) -> str:
    r"""A name on one line of UTF-8; bytes and breaks that are not are escaped.

    >>> printable("a\nb\udcff.png")
    'a\\nb\\udcff.png'
    """
    known = name.encode("utf-8", "backslashreplace").decode()
    return known.replace("\r", "\\r").replace("\n", "\\n")


def short(chance: float) -> str:
    """A probability with as many digits as float32 has.

    >>> short(0.1), short(1e-12)
    ('0.1', '1e-12')
    """
    return f"{chance:.9g}"
