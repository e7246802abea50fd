"""Write `report.html`: scores, mistakes, curves and heatmaps of a run in one HTML file."""

import datetime
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from vision_attn.core.atomic import WriteError, write_text
from vision_attn.core.errors import UserError, first_line
from vision_attn.core.json_file import read_json
from vision_attn.core.percent import percent
from vision_attn.core.terminal import say
from vision_attn.core.version import __version__
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.evaluation.report.advice import advice
from vision_attn.evaluation.report.confusion_matrix import Matrix, confusion_matrix
from vision_attn.evaluation.report.curves import Curves, read_curves
from vision_attn.evaluation.report.data_uri import data_uri
from vision_attn.evaluation.report.examples import (
    Example,
    examples,
    least_confident_correct,
    most_confident_correct,
    most_confident_mistakes,
)
from vision_attn.evaluation.report.intervals import accuracy_interval
from vision_attn.evaluation.report.map_quality import SECONDS as MAP_SECONDS
from vision_attn.evaluation.report.map_quality import MapQuality, map_quality
from vision_attn.evaluation.report.map_verdict import losers, loses_to, verdict
from vision_attn.evaluation.report.plots import (
    acceptance_plot,
    calibration_plot,
    curves_plot,
    map_chart,
)
from vision_attn.evaluation.report.predictions import (
    Bin,
    ClassScore,
    SplitPredictions,
    predict_split,
)
from vision_attn.evaluation.report.selective import Acceptance, acceptances, coverage_curve
from vision_attn.evaluation.report.split_summary import SplitSummary, split_summary
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.environment import read_starts
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.settings_summary import About
from vision_attn.runs.start_summary import about_start

SECONDS = 60.0  # time limit of the predictions for the report at the end of `fit`
SCORES = {
    "accuracy": ("accuracy", "of the {kind} images classified correctly", percent),
    "balanced_accuracy": (
        "balanced accuracy",
        "the average of the classes' own accuracies, so that rare classes count as much",
        percent,
    ),
    "macro_f1": (
        "macro F1",
        "the average of the classes' F1, which combines precision and recall; 1 is best",
        "{:.3f}".format,
    ),
    "auroc": (
        "AUROC",
        "chance that a random image of a class gets a higher score for it than a random image of "
        "another; 0.5 is guessing",
        "{:.3f}".format,
    ),
    "calibration_error": (
        "calibration error",
        "average gap between stated confidence and actual accuracy; 0 is best",
        percent,
    ),
}
TOP = 3  # classes among which the right one is, in the headline
MAX_WARNINGS = 4  # shown; further ones are folded


@dataclass(frozen=True)
class Tile:
    """One headline score."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Contents:
    """The contents of the report; the template defines the layout.

    Attributes:
        title: the run's name.
        about: settings, data and model: name, text, and whether it was chosen automatically.
        predictions: predictions of the model.
        split_size: number of images of the split.
        tiles: headline scores.
        interval: 95 % confidence interval of the accuracy.
        right_among_first: share of images whose class is among the first three; None for so few
            classes that it says nothing.
        advice: warnings, the worst first.
        acceptances: selective accuracy by confidence threshold.
        split_summary: how the split was made, and its near duplicates in training.
        start: time, machine, seed, command and commit of the training.
        classes: scores per class, the lowest F1 first.
        train: number of training images per class.
        matrix: the confusion matrix of the classes with errors.
        whole_matrix: the one of all classes; None if those are all.
        bins: of the calibration plot.
        curves: the training curves.
        mistakes: the most confident mistakes.
        correct: the most confident correct predictions.
        unsure: the least confident correct predictions.
        map_quality: faithfulness of the heatmaps; None if unknown.
        map_quality_error: why it is unknown.
    """

    title: str
    about: Sequence[About]
    predictions: SplitPredictions
    split_size: int
    tiles: list[Tile]
    interval: tuple[float, float]
    right_among_first: float | None
    advice: list[str]
    acceptances: list[Acceptance]
    split_summary: SplitSummary
    start: list[tuple[str, str]]
    classes: list[ClassScore]
    train: Counter[str]
    matrix: Matrix
    whole_matrix: Matrix | None
    bins: list[Bin]
    curves: Curves
    mistakes: list[Example]
    correct: list[Example]
    unsure: list[Example]
    map_quality: MapQuality | None
    map_quality_error: str


def write_report(
    folder: RunFolder,
    model: AttentionClassifier,
    data: ImageDataModule,
    about: Sequence[About],
    out: Path,
    seconds: float = float("inf"),
    map_seconds: float = MAP_SECONDS,
) -> None:
    """Write the report on the test images of a run, or on its validation images if it has none.

    Args:
        folder: the run folder.
        model: the trained model of the run.
        data: the images of the run.
        about: settings, data and model: name, text, and whether it was chosen automatically.
        out: the path of the HTML file.
        seconds: time limit of the predictions; the report covers the images predicted by then.
            The pictures take some seconds more.
        map_seconds: approximate time limit of the scores of heatmaps.

    Raises:
        UserError: no image could be read.
    """
    stage = "test" if "test" in data.splits else "val"
    model = model.eval()
    predictions = predict_split(model, data, stage, seconds)
    text = render(gather(folder, model, data, about, predictions, map_seconds))
    write_text(out, text)


def write_report_at_end(
    folder: RunFolder,
    model: AttentionClassifier,
    data: ImageDataModule,
    about: Sequence[About],
    seconds: float = float("inf"),
) -> None:
    """Write the report at the end of `fit`, in about two minutes; a failure is only a warning.

    Args:
        folder: the run folder.
        model: the trained model of the run.
        data: the images of the run.
        about: as in `write_report`.
        seconds: a shorter time limit of the whole report.

    Raises:
        WriteError: the disk is full.
    """
    try:
        limits = min(SECONDS, 0.4 * seconds), min(MAP_SECONDS, 0.3 * seconds)
        write_report(folder, model, data, about, folder.report, *limits)
        say(f"report    {folder.report}")
    except WriteError:
        raise
    except Exception as error:  # any plotting error: a report must never fail a finished run
        retry = f"vision-attn report {folder.path} --debug"
        say(
            f"no report: {first_line(error)} (to retry with the full traceback: {retry})",
            error=True,
        )


def gather(
    folder: RunFolder,
    model: AttentionClassifier,
    data: ImageDataModule,
    about: Sequence[About],
    predictions: SplitPredictions,
    map_seconds: float,
) -> Contents:
    """Collect the contents of the report."""
    curves = read_curves(folder.logs / "csv", data.monitored)
    train = Counter(data.splits["train"].labels) if "train" in data.splits else Counter()
    size, names, confusion = data.image_size, predictions.class_names, predictions.confusion()
    quality, quality_error = None, ""
    try:
        quality = map_quality(folder, model, predictions, size, map_seconds)
    except UserError as error:
        quality_error = str(error)
    starts = read_starts(folder.environment)
    matrix, split = confusion_matrix(confusion, names), split_summary(data, predictions.stage)
    pretrained = any(name == "pretrained" for name, _, _ in about)  # left out if it is off
    return Contents(
        title=folder.path.resolve().name,
        about=about,
        predictions=predictions,
        split_size=len(predictions.split),
        tiles=tiles(predictions),
        interval=accuracy_interval(
            read_json(folder.metrics) if folder.metrics.exists() else {},
            predictions.stage,
            int(predictions.correct.sum()),
            len(predictions.targets),
        ),
        right_among_first=predictions.right_among_first(TOP) if len(names) > 2 * TOP else None,
        advice=[
            *filter(None, [split.warning]),
            *advice(predictions, curves, train, pretrained),
        ],
        acceptances=acceptances(predictions.confidence, predictions.correct),
        split_summary=split,
        start=about_start(starts[-1]) if starts else [],
        classes=sorted(predictions.by_class(), key=lambda score: (score.images == 0, score.f1)),
        train=train,
        matrix=matrix,
        whole_matrix=confusion_matrix(confusion, names, False)
        if 0 < len(matrix.names) < len(names)
        else None,
        bins=predictions.calibration(),
        curves=curves,
        mistakes=examples(model, predictions, most_confident_mistakes(predictions), size),
        correct=examples(model, predictions, most_confident_correct(predictions), size),
        unsure=examples(model, predictions, least_confident_correct(predictions), size),
        map_quality=quality,
        map_quality_error=quality_error,
    )


def tiles(predictions: SplitPredictions) -> list[Tile]:
    """The headline scores; a dash for one that is undefined."""
    kind = "test" if predictions.stage == "test" else "validation"
    found = []
    for key, (name, meaning, text) in SCORES.items():
        value = predictions.scores()[key]
        shown = "-" if math.isnan(value) else text(value)
        found.append(Tile(name, shown, meaning.format(kind=kind)))
    return found


def render(contents: Contents) -> str:
    """The report as HTML; all text is escaped except the plots, which are generated here."""
    environment = Environment(
        loader=PackageLoader("vision_attn.evaluation.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": score, "percent": percent, "breakable": breakable}
    curves, predictions, quality = contents.curves, contents.predictions, contents.map_quality
    by_coverage = coverage_curve(predictions.confidence, predictions.correct)
    plots: dict[str, Any] = {
        "curves_plot": Markup(curves_plot(curves)) if curves.epochs else "",
        "calibration_plot": Markup(calibration_plot(contents.bins)),
        "acceptance_plot": Markup(acceptance_plot(*by_coverage)),
        "calibration_chart": picture_uri(quality.calibration_chart) if quality else "",
        "map_chart": Markup(map_chart(quality)) if quality and quality.higher_is_better else "",
    }
    date = f"{datetime.datetime.now():%Y-%m-%d %H:%M}"
    return environment.get_template("page.html").render(
        page=contents,
        date=date,
        version=__version__,
        max_warnings=MAX_WARNINGS,
        loses_to=loses_to,
        losers=losers,
        verdict=verdict,
        **plots,
    )


def breakable(name: str) -> Markup:
    """A name as HTML that may break after an underscore, on a narrow screen.

    >>> str(breakable("main_coon <1>"))
    'main_<wbr>coon &lt;1&gt;'
    """
    return Markup(str(escape(name)).replace("_", "_<wbr>"))  # escaped just before


def score(value: float | None, digits: int = 3) -> str:
    """A score as text; a dash if it is None or NaN.

    >>> score(0.98765), score(None), score(float("nan"))
    ('0.988', '-', '-')
    """
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def picture_uri(path: Path | None) -> str:
    """A PNG file as a data URI; empty if there is none."""
    if path is None:
        return ""
    return data_uri(path.read_bytes(), "png")
