"""Cross-validation: score every image once, by a model that was trained without it.

A set of a few hundred images is too small to put a tenth of it aside and learn much from its score.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vision_attn.core.atomic import make_folder, write_text
from vision_attn.core.errors import UserError
from vision_attn.core.spreadsheet import text_cell
from vision_attn.core.terminal import printable, say
from vision_attn.data.choose_gray_range import read_alike
from vision_attn.data.groups import groups_of
from vision_attn.data.recorded_splits import as_record
from vision_attn.data.sources.base import ImageSource
from vision_attn.data.split import Split, joined
from vision_attn.inference.prediction import Prediction
from vision_attn.inference.prediction_table import csv_line, format_probability
from vision_attn.inference.trained_model import load
from vision_attn.metrics.bootstrap import Interval, bootstrap_intervals
from vision_attn.runs.folder import RunFolder
from vision_attn.training.config import Config
from vision_attn.training.fit import FitResult, fit
from vision_attn.training.fit_request import FitRequest, new_run
from vision_attn.training.intervals import bounds, with_interval
from vision_attn.training.probe.selection import grouped_folds
from vision_attn.training.processes.launcher import launched
from vision_attn.training.provenance import write_record
from vision_attn.training.starting_weights import known_source

FEWEST = 3  # groups of images per class: for testing, for validation and for training
FOLDS = (2, 100)


@dataclass(frozen=True)
class Folded:
    """The images that are scored once each.

    Attributes:
        images: all of them.
        root: the folder that holds them.
        groups: (N,), numbers of groups of related images, which are in one fold.
        folds: (N,), the fold of each image, from 0.
        drop: settings of the data that do not apply to the tables of the folds.
    """

    images: Split
    root: Path
    groups: np.ndarray
    folds: np.ndarray
    drop: tuple[str, ...]


def fit_as_asked(request: FitRequest) -> FitResult:
    """Train one model, or with `folds` one per fold and the one that is kept.

    Raises:
        UserError: invalid settings, images or files.
    """
    if request.folds is None:
        return fit(request)
    launch = launched()
    if launch is not None and launch.count > 1:
        raise UserError(f"--folds trains in one process; start it without {launch.launcher}.")
    return fit_folds(request, request.folds)


def fit_folds(request: FitRequest, folds: int) -> FitResult:
    """Train one model per fold and score it on that fold; then train the kept model on all images.

    The folds are runs in `RUN/folds`. If this is stopped, the same command with the same run
    folder goes on: a fold that is finished is not trained again.

    Raises:
        UserError: invalid settings, images or files.
    """
    if not FOLDS[0] <= folds <= FOLDS[1]:
        raise UserError(f"--folds must be between {FOLDS[0]} and {FOLDS[1]}, not {folds}.")
    if math.isfinite(request.max_minutes):
        raise UserError("--folds takes no --max_minutes: set --epochs, or fewer folds.")
    if request.resume:
        raise UserError("--folds goes on by itself: repeat the command without --resume.")
    attempt = new_run(request)
    folder = attempt.folder
    request = replace(request, run_dir=folder.path, report=False)
    data = folded(attempt.config, folds)
    make_folder(folder.path / "folds", "Choose another folder: --run_dir DIR.")
    scored: dict[int, Prediction] = {}
    for fold in range(folds):
        result = fit_without(request, data, fold)
        if result.interrupted:
            say(f"stopped; the same command with --run_dir {folder.path} goes on")
            return replace(result, folder=folder, can_resume=False)
        scored |= predictions_of(result.folder, data, fold)
    say("folds     now the model that is kept, from all images (some for validation, if needed)")
    result = fit(replace(request, options=[*request.options, ("data.hold_out_test", False)]))
    if not result.interrupted:
        report(folder, data, scored)
    return result


def folded(config: Config, folds: int) -> Folded:
    """The images of a configuration and their folds.

    Own test images of the data are left for the model that is kept.

    Raises:
        UserError: the images are not files, or a class has too few groups of them.
    """
    settings = config.get("data") or {}
    source = known_source(settings.get("source"))
    if not isinstance(source, ImageSource):
        raise UserError("--folds needs images in files, which can be read (try without --folds).")
    splits, _, _ = read_alike(source.splits(), None)
    images = splits["train"]
    if "val" in splits:
        images = joined(images, splits["val"])
    if not images.are_files:
        raise UserError("--folds needs images in files.")
    group = settings.get("group")
    groups = np.array(groups_of(images, group, source.column, FEWEST).of_image)
    check_groups(images, groups)
    seed = int(settings.get("seed") or 0)
    targets = np.unique(images.labels, return_inverse=True)[1]
    is_column = group not in (None, "none", "folder") and source.column(group) is not None
    drop = ("data.group",) if is_column else ()
    root = Path(source.root)  # type: ignore[attr-defined]  # sources of files have one
    return Folded(images, root, groups, grouped_folds(targets, groups, folds, seed), drop)


def check_groups(images: Split, groups: np.ndarray) -> None:
    """Refuse a class with too few groups of images to be in training, validation and test.

    Raises:
        UserError: naming the class.
    """
    counts = Counter(label for label, _ in set(zip(images.labels, groups.tolist(), strict=True)))
    label, fewest = min(counts.items(), key=lambda item: (item[1], item[0]))
    if fewest < FEWEST:
        raise UserError(
            f"class '{label}' has {fewest} group(s) of unrelated images; --folds needs at least "
            f"{FEWEST} of each class."
        )


def fit_without(request: FitRequest, data: Folded, fold: int) -> FitResult:
    """Train on all folds but one, or go on with such a run, and score it on that one."""
    place = Path(request.run_dir or "") / "folds"
    run, table = RunFolder(place / str(fold + 1)), place / f"{fold + 1}.csv"
    count, held_out = data.folds.max() + 1, int((data.folds == fold).sum())
    say(f"folds     {fold + 1} of {count}: {held_out} images to score")
    if run.metrics.exists():
        say(f"folds     {run.path} is finished, and kept")
        return FitResult(run)
    if run.config.exists():
        return fit(FitRequest(run_dir=run.path, resume=True, trust=request.trust, report=False))
    splits = {
        "train": data.images.take(np.flatnonzero(data.folds != fold)),
        "test": data.images.take(np.flatnonzero(data.folds == fold)),
    }
    write_record(table, as_record(splits, data.root))
    kept = [
        (name, value)
        for name, value in request.options
        if not name.startswith("data.source.") and name not in data.drop
    ]
    options = [*kept, ("data.source.root", str(data.root))]
    return fit(replace(request, data=str(table), options=options, run_dir=run.path, overlays=False))


def predictions_of(folder: RunFolder, data: Folded, fold: int) -> dict[int, Prediction]:
    """The predictions of a fold's model for its images, by index; unreadable ones have none."""
    indices = np.flatnonzero(data.folds == fold).tolist()
    files = [Path(data.images.names[index]) for index in indices]
    predictions = load(folder.path).predictions(files)
    found = zip(indices, predictions, strict=True)
    return {index: one for index, one in found if one.error is None}


def report(folder: RunFolder, data: Folded, scored: dict[int, Prediction]) -> None:
    """Print the scores out of fold, and write them to `metrics.json` and `predictions.csv`."""
    indices = np.array(sorted(scored))
    labels = np.array(data.images.labels)[indices]
    correct = np.array([scored[index].class_name for index in indices.tolist()]) == labels
    folds = data.folds[indices]
    per_fold = np.array([correct[folds == fold].mean() for fold in np.unique(folds)])
    targets = np.unique(labels, return_inverse=True)[1]
    intervals = bootstrap_intervals(correct, targets, data.groups[indices])
    scores = {
        "accuracy": float(correct.mean()),
        "balanced_accuracy": float(
            np.mean([correct[targets == target].mean() for target in np.unique(targets)])
        ),
    }
    spread = float(per_fold.std(ddof=1))
    folder.add_metrics(
        {f"folds/{name}": value for name, value in scores.items()}
        | bounds("folds", intervals)
        | {"folds/accuracy_mean": float(per_fold.mean()), "folds/accuracy_sd": spread}
    )
    write_text(folder.path / "predictions.csv", "".join(rows(data, scored)))
    say(f"folds     {described(scores, intervals)}, on {len(indices)} images, each scored once")
    say(
        f"{'':9} accuracy of the {len(per_fold)} folds: mean {per_fold.mean():.4f}, standard "
        f"deviation {spread:.4f}; predictions out of fold: {folder.path / 'predictions.csv'}"
    )


def described(scores: dict[str, float], intervals: dict[str, Interval]) -> str:
    """Scores with their intervals.

    >>> described({"balanced_accuracy": 0.75}, {"balanced_accuracy": Interval(0.5, 0.875)})
    'balanced accuracy 0.7500 (0.500 to 0.875)'
    """
    return ", ".join(
        f"{name.replace('_', ' ')} {with_interval(value, intervals[name])}"
        for name, value in scores.items()
    )


def rows(data: Folded, scored: dict[int, Prediction]) -> Iterator[str]:
    """The lines of `predictions.csv`: file, label, fold, predicted, probability, p_CLASS, ..."""
    classes = list(next(iter(scored.values())).probabilities)
    yield line(["file", "label", "fold", "predicted", "probability", *(f"p_{c}" for c in classes)])
    for index, one in sorted(scored.items()):
        file = Path(data.images.names[index]).relative_to(data.root)
        yield line(
            [
                str(file),
                data.images.labels[index],
                str(data.folds[index] + 1),
                one.class_name,
                *map(format_probability, (one.probability, *one.probabilities.values())),
            ]
        )


def line(cells: Sequence[str]) -> str:
    """A line of CSV with printable text that no spreadsheet calculates.

    >>> print(line(["=a", "b,c"]).rstrip())
    '=a,"b,c"
    """
    return csv_line([text_cell(printable(cell)) for cell in cells])
