"""`vision-attn predict`: the probability of every class, for any number of image files."""

import argparse
import math
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vision_attn.cli.arguments import Options, free_file
from vision_attn.core.errors import UserError

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from vision_attn.inference.prediction import Prediction
    from vision_attn.inference.prediction_table import Table
    from vision_attn.inference.trained_model import TrainedModel

TOLD = 10  # unreadable files that are named on the terminal; all are in the table
LINE_EVERY = 30.0  # seconds, where there is no terminal for a bar
SAME = 1e-3  # how near a probability comes to itself on another machine
TOP = 3  # classes of an image where there is no table

EPILOG = """PATH: an image file, a folder (searched to any depth), a pattern ('photos/**/*.jpg') or
@list.txt, a file with one path a line. Rows are in that order; an image named twice has two.

The ending of --out says what is written:
  .csv      file, predicted, probability, error, and p_CLASS for every class
  .parquet  the same columns; needs pip install 'vision-attn[parquet]'
  .jsonl    {"file", "predicted", "probability", "error", "probabilities": {CLASS: ...}}
Without --out the likeliest classes are printed.

While it works, rows are in FILE.part. After an interruption the same command with --resume goes on
from there.

Exit code: 0 all were read; 1 done, but some files could not be read (see their error); 2 not done.
"""


def parser() -> argparse.ArgumentParser:
    """The verb's options."""
    found = Options("predict", "Classify image files.", epilog=EPILOG)
    add = found.add_argument
    add("run", metavar="RUN", help="a run folder that fit made")
    add("paths", nargs="*", metavar="PATH", help="image files, folders, patterns, @lists")
    add("--list", action="append", default=[], metavar="FILE", help="as @FILE")
    add("--out", metavar="FILE", help="a new file: .csv, .jsonl or .parquet")
    add("--resume", action="store_true", help="go on with an interrupted prediction")
    add("--batch_size", type=int, default=64, metavar="N", help="images at a time (%(default)s)")
    add("--trust", action="append", default=[], metavar="CLASS", help="own code the run may use")
    return found


def run(words: list[str]) -> int:
    """Classify every image that can be read; exit code 1 if one could not."""
    options = parser().parse_args(words)
    paths = [*options.paths, *(f"@{name}" for name in options.list)]
    if not paths:
        raise UserError("name the images: vision-attn predict RUN PATH... or --list FILE.")
    if options.batch_size < 1:
        raise UserError(f"--batch_size is at least 1, not {options.batch_size}.")
    if options.resume and not options.out:
        raise UserError("--resume goes on with a file: --out FILE.")
    out = free_file(options.out) if options.out else None
    from vision_attn.data.io.paths import listed_images
    from vision_attn.inference.trained_model import load

    model = load(options.run, options.trust)
    total = sum(1 for _ in listed_images(paths))  # names alone; tells what is missing at once
    if out is None:
        return show(model.predictions(paths, options.batch_size))
    from vision_attn.core.atomic import unwritten
    from vision_attn.inference.prediction_table import Table

    table = Table(out, model.class_names)
    count = Count(total)
    try:
        with closing(table):
            files, last = start(table, listed_images(paths), options.resume, count)
            predictions = model.predictions(files, options.batch_size)
            write(same_as_before(predictions, last, table, model), table, count)
            table.finish()
    except KeyboardInterrupt:
        print(f"vision-attn: the rows so far are in {table.part}; go on with --resume.")
        raise
    except OSError as error:
        raise UserError(f"{unwritten(table.part, error)} Go on with --resume.") from None
    print(f"{count.told()} in {out}")
    return 1 if count.unreadable else 0


def show(predictions: "Iterable[Prediction]") -> int:
    """Print the likeliest classes of each image."""
    from vision_attn.inference.prediction_table import as_text

    unreadable = 0
    for prediction in predictions:
        if prediction.error is not None:
            unreadable += 1
            print(f"vision-attn: {prediction.error}", file=sys.stderr)
            continue
        best = ", ".join(f"{name} {chance:.1%}" for name, chance in prediction.top(TOP))
        print(f"{as_text(str(prediction.path))}: {best}", flush=True)
    return 1 if unreadable else 0


def start(
    table: "Table", files: Iterator[Path], resume: bool, count: "Count"
) -> "tuple[Iterator[Path], dict | None]":
    """Begin or go on with a table; returns what is still to be read, and the last row before."""
    if not resume:
        table.begin()
        return files, None
    from vision_attn.inference.prediction_table import as_text

    last, file = None, None
    for row in table.go_on():
        last, file = row, next(files, None)
        if file is None or as_text(str(file)) != row["file"]:
            raise UserError(
                f"--resume: {table.part} has {row['file']} where there is {file or 'no file'} now; "
                "name the same paths, or another --out."
            )
        count.done += 1
        count.unreadable += row["error"] is not None
    if last is None or file is None:
        return files, None
    count.done -= 1  # it is done again
    count.unreadable -= last["error"] is not None
    count.before = count.done
    return chain([file], files), last


def same_as_before(
    predictions: "Iterator[Prediction]",
    last: dict | None,
    table: "Table",
    model: "TrainedModel",
) -> "Iterator[Prediction]":
    """The predictions, if the first comes out as the last row before the interruption did.

    Raises:
        UserError: it does not: the rows are those of another model.
    """
    for prediction in predictions:
        if last is not None and last["error"] is None and prediction.error is None:
            before = prediction.probabilities.get(last["predicted"], math.nan)
            if not abs(before - last["probability"]) <= SAME:
                raise UserError(
                    f"--resume: {table.part} was made by another model than "
                    f"{model.card.backbone} of this run; name another --out."
                )
        last = None
        yield prediction


def write(predictions: "Iterator[Prediction]", table: "Table", count: "Count") -> None:
    """Put every prediction into the table, and tell how far it is."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
    from rich.progress import TextColumn as Text

    shown = sys.stderr.isatty()
    columns = (
        Text("predicting"), BarColumn(), MofNCompleteColumn(), Text("{task.fields[pace]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not shown, transient=True) as bar:
        task = bar.add_task("", total=count.total, completed=count.done, pace="")
        for prediction in predictions:
            table.add(prediction)
            count.add(prediction)
            if count.is_time(0.5 if shown else LINE_EVERY):
                bar.update(task, completed=count.done, pace=count.pace())
                if not shown:
                    print(f"{count.done} of {count.total} images, {count.pace()}", flush=True)


class Count:
    """How many files are done, how many of them could not be read, and how fast it goes."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = self.unreadable = self.before = 0
        self.started = self.told_at = time.monotonic()

    def add(self, prediction: "Prediction") -> None:
        """One more; the first that cannot be read are named."""
        self.done += 1
        if prediction.error is not None:
            self.unreadable += 1
            if self.unreadable <= TOLD:
                print(f"vision-attn: {prediction.error}", file=sys.stderr)

    def is_time(self, seconds: float) -> bool:
        """Whether it is that long ago that something was told."""
        if time.monotonic() - self.told_at < seconds:
            return False
        self.told_at = time.monotonic()
        return True

    def pace(self) -> str:
        """Images a second since the start."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        return f"{(self.done - self.before) / seconds:.0f} images/s"

    def told(self) -> str:
        """The closing line."""
        bad = f", {self.unreadable} of which could not be read," if self.unreadable else ""
        return f"{self.done} image{'s' * (self.done != 1)}{bad}"
