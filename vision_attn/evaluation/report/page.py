"""The page: everything of a run that is worth a look, in one file."""

import datetime
import math
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vision_attn.core.atomic import WriteError, write_text
from vision_attn.core.errors import UserError, first_line
from vision_attn.core.version import __version__
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.leakage import leakage_warning
from vision_attn.evaluation.report.advice import advice, wilson
from vision_attn.evaluation.report.confusion_matrix import Matrix, matrix_of
from vision_attn.evaluation.report.curves import Curves, read_curves
from vision_attn.evaluation.report.examples import (
    Example,
    examples,
    most_confident_correct,
    most_confident_mistakes,
)
from vision_attn.evaluation.report.map_quality import MapQuality, map_quality
from vision_attn.evaluation.report.plots import calibration_plot, curves_plot
from vision_attn.evaluation.report.predictions import (
    Bin,
    ClassScore,
    Precision,
    SplitPredictions,
    predict_split,
)
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.settings_summary import About

SECONDS = 60.0  # for the predictions of the page at the end of `fit`
SCORES = {
    "accuracy": ("accuracy", "share of the images that are right"),
    "balanced_accuracy": ("balanced accuracy", "mean over the classes: each has the same say"),
    "macro_f1": ("macro F1", "mean over the classes of precision and recall, combined"),
    "auroc": ("AUROC", "how well an image of a class ranks before all others; 0.5 is chance"),
    "calibration_error": ("calibration error", "how far sureness is from accuracy; 0 is best"),
}


@dataclass(frozen=True)
class Tile:
    """One headline score."""

    name: str
    value: float
    meaning: str


@dataclass(frozen=True)
class Contents:
    """What is on the page; the template says how it looks.

    Attributes:
        title: the run's name.
        about: what was trained on what: name and text, each with whether it chose itself.
        outcome: what the model said.
        of_all: how many images the split has.
        tiles: headline scores.
        interval: 95 % interval of the accuracy.
        advice: warnings.
        classes: scores of the classes, the worst first.
        train: training images of each class.
        matrix: confusions.
        bins: calibration.
        curves: the training.
        mistakes: the surest ones.
        correct: the most confident correct answers.
        belief: how far maps can be believed, if that is known.
        no_belief: why it is not.
    """

    title: str
    about: Sequence[About]
    predictions: SplitPredictions
    of_all: int
    tiles: list[Tile]
    interval: tuple[float, float]
    advice: list[str]
    classes: list[ClassScore]
    train: Counter[str]
    matrix: Matrix
    bins: list[Bin]
    curves: Curves
    mistakes: list[Example]
    correct: list[Example]
    map_quality: MapQuality | None
    no_map_quality: str


def write_report(
    folder: RunFolder,
    model: AttentionClassifier,
    data: ImageDataModule,
    about: Sequence[About],
    out: Path,
    precision: Precision = nullcontext,
    seconds: float = float("inf"),
) -> None:
    """Look at a run's test images (validation images where it has none), and write the page.

    Args:
        folder: the run.
        model: its model.
        data: its images.
        about: what was trained on what: name, text, and whether it was chosen automatically.
        out: where to.
        precision: makes the context in which the model computes, so that scores are those of test.
        seconds: time for the predictions; what is shown is of the images seen by then. The scores
            of maps take half a minute more at most, and the pictures some seconds.

    Raises:
        UserError: no image could be read.
    """
    stage = "test" if "test" in data.splits else "val"
    model = model.eval()
    predictions = predict_split(model, data, stage, precision, seconds)
    text = render(gather(folder, model, data, about, predictions))
    write_text(out, text)


def write_report_at_end(
    folder: RunFolder,
    model: AttentionClassifier,
    data: ImageDataModule,
    about: Sequence[About],
    precision: Precision,
) -> None:
    """Write the page at the end of `fit`, in about two minutes; if it fails, the run is complete.

    Raises:
        WriteError: the disk is full.
    """
    try:
        write_report(folder, model, data, about, folder.report, precision, SECONDS)
        print(f"report    {folder.report}")
    except WriteError:
        raise
    except Exception as error:  # no page is worth a run, whatever plotting stumbles over
        again = f"vision-attn report {folder.path} --debug"
        print(
            f"no report: {first_line(error)} (again, with the whole error: {again})",
            file=sys.stderr,
        )


def gather(
    folder: RunFolder,
    model: AttentionClassifier,
    data: ImageDataModule,
    about: Sequence[About],
    predictions: SplitPredictions,
) -> Contents:
    """Everything that the page shows."""
    curves = read_curves(folder.logs / "csv", data.monitored)
    train = Counter(data.splits["train"].labels) if "train" in data.splits else Counter()
    found, size = predictions.scores(), data.image_size
    known, unknown = None, ""
    try:
        known = map_quality(folder, model, predictions, size)
    except UserError as error:
        unknown = str(error)
    return Contents(
        title=folder.path.resolve().name,
        about=about,
        predictions=predictions,
        of_all=len(predictions.split),
        tiles=[Tile(name, found[key], meaning) for key, (name, meaning) in SCORES.items()],
        interval=wilson(int(predictions.correct.sum()), len(predictions.targets)),
        advice=[
            *filter(None, [leakage_warning(data, predictions.stage)]),
            *advice(predictions, curves, train),
        ],
        classes=sorted(predictions.by_class(), key=lambda score: (score.images == 0, score.f1)),
        train=train,
        matrix=matrix_of(predictions.confusion(), predictions.class_names),
        bins=predictions.calibration(),
        curves=curves,
        mistakes=examples(model, predictions, most_confident_mistakes(predictions), size),
        correct=examples(model, predictions, most_confident_correct(predictions), size),
        map_quality=known,
        no_map_quality=unknown,
    )


def render(contents: Contents) -> str:
    """The page as HTML; all text is escaped but the two plots, which are ours."""
    environment = Environment(
        loader=PackageLoader("vision_attn.evaluation.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = score
    curves = contents.curves
    plots: dict[str, Any] = {
        "curves_plot": Markup(curves_plot(curves)) if curves.epochs else "",
        "calibration_plot": Markup(calibration_plot(contents.bins)),
    }
    written = f"{datetime.datetime.now():%Y-%m-%d %H:%M}"
    return environment.get_template("page.html").render(
        page=contents, written=written, version=__version__, **plots
    )


def score(value: float | None, places: int = 3) -> str:
    """A score as text; a dash where there is none.

    >>> score(0.98765), score(None), score(float("nan"))
    ('0.988', '-', '-')
    """
    return "-" if value is None or math.isnan(value) else f"{value:.{places}f}"
