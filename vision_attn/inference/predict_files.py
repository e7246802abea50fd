"""Predict many image files into a table; an interrupted prediction can be resumed."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from vision_attn.core.atomic import write_error
from vision_attn.core.errors import UserError
from vision_attn.core.progress import ProgressBar
from vision_attn.core.terminal import say
from vision_attn.data.io.paths import listed_images
from vision_attn.data.io.skipped_files import SkippedFiles
from vision_attn.inference.prediction import Prediction
from vision_attn.inference.prediction_table import PredictionWriter, Row
from vision_attn.inference.trained_model import TrainedModel

NAMED = 10  # unreadable files that are named on the terminal; all are in the table
TOLERANCE = 1e-3  # between a probability and the same one on another machine
TOP = 3  # classes per image if there is no table


@dataclass
class Counts:
    """How many files were predicted.

    Attributes:
        done: files, also those that could not be read.
        unreadable: files that could not be read.
    """

    done: int = 0
    unreadable: int = 0

    def add(self, error: str | None) -> None:
        """Count a file."""
        self.done += 1
        self.unreadable += error is not None

    def describe(self) -> str:
        """The counts in words.

        >>> Counts(1).describe(), Counts(3, 1).describe()
        ('1 image', '3 images, 1 of which could not be read,')
        """
        bad = f", {self.unreadable} of which could not be read," if self.unreadable else ""
        return f"{self.done} image{'s' * (self.done != 1)}{bad}"


def print_predictions(model: TrainedModel, paths: Sequence[str], batch_size: int) -> int:
    """Print the most probable classes of each image; returns how many could not be read."""
    unreadable = 0
    for prediction in model.predictions(paths, batch_size):
        if prediction.error is not None:
            unreadable += 1
            say(f"vision-attn: {prediction.error}", error=True)
            continue
        best = ", ".join(f"{name} {value:.1%}" for name, value in prediction.top(TOP))
        say(f"{prediction.path}: {best}")
    return unreadable


def predict_to_file(
    model: TrainedModel, paths: Sequence[str], out: Path, batch_size: int, resume: bool
) -> Counts:
    """Write the predictions for image files into a table.

    Args:
        model: the trained model.
        paths: image files, folders, patterns and lists.
        out: a new file: .csv, .jsonl or .parquet.
        batch_size: images per forward pass.
        resume: whether to resume an interrupted prediction.

    Raises:
        UserError: a path names no file, the table cannot be written, or there is nothing to resume.
    """
    skipped = SkippedFiles()
    total = sum(1 for _ in listed_images(paths, skipped))  # reports what is missing at once
    skipped.report()
    writer, counts = PredictionWriter(out, model.class_names), Counts()
    try:
        with closing(writer):
            files, last = start(writer, listed_images(paths), resume, counts)
            predictions = model.predictions(files, batch_size)
            write_all(check_resumed(predictions, last, writer, model), writer, counts, total)
            writer.finish()
    except KeyboardInterrupt:
        say(f"vision-attn: the rows so far are in {writer.part}; continue with --resume.")
        raise
    except OSError as error:
        raise UserError(f"{write_error(writer.part, error)} Continue with --resume.") from None
    return counts


def start(
    writer: PredictionWriter, files: Iterator[Path], resume: bool, counts: Counts
) -> tuple[Iterator[Path], Row | None]:
    """Start or resume a table; returns the files that are left, and the last row that was there.

    Raises:
        UserError: the rows are those of other files.
    """
    if not resume:
        writer.begin()
        return files, None
    last, file = None, None
    for row in writer.resume():
        last, file = row, next(files, None)
        if file is None or writer.format.text(str(file)) != row["file"]:
            raise UserError(
                f"--resume: {writer.part} has {row['file']} where there is {file or 'no file'} "
                "now; name the same paths, or another --out."
            )
        counts.add(row["error"])
    if last is None or file is None:
        return files, None
    counts.done -= 1  # the last file is predicted again
    counts.unreadable -= last["error"] is not None
    return chain([file], files), last


def check_resumed(
    predictions: Iterator[Prediction],
    last: Row | None,
    writer: PredictionWriter,
    model: TrainedModel,
) -> Iterator[Prediction]:
    """The predictions, if the first one equals the last row before the interruption.

    Raises:
        UserError: it does not: the rows are those of another model.
    """
    for prediction in predictions:
        if last is not None and last["error"] is None and prediction.error is None:
            before = writer.format.probability_of(last["predicted"], prediction)
            if not abs(before - last["probability"]) <= TOLERANCE:
                raise UserError(
                    f"--resume: {writer.part} was made by another model than "
                    f"{model.spec.backbone} of this run; name another --out."
                )
        last = None
        yield prediction


def write_all(
    predictions: Iterator[Prediction], writer: PredictionWriter, counts: Counts, total: int
) -> None:
    """Write every prediction, with a progress bar; the first unreadable files are named."""
    with ProgressBar("predicting", total, done=counts.done) as bar:
        for prediction in predictions:
            writer.add(prediction)
            counts.add(prediction.error)
            if prediction.error is not None and counts.unreadable <= NAMED:
                say(f"vision-attn: {prediction.error}", error=True)
            bar.advance()
