"""Faithfulness of the heatmaps of a run: from `evaluate`, or a quick measurement on few images."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vision_attn.core.errors import UserError, first_line
from vision_attn.core.json_file import read_json
from vision_attn.core.progress import ProgressBar
from vision_attn.data.io.image import to_unit_range
from vision_attn.data.io.read_many import readable
from vision_attn.evaluation.benchmark import Summary, evaluate_explainer, prepare, summary
from vision_attn.evaluation.evidence_calibration import FILE as CHART
from vision_attn.evaluation.evidence_calibration import sentences
from vision_attn.evaluation.report.predictions import SplitPredictions
from vision_attn.explainers.attention import Attention
from vision_attn.explainers.base import Explainer
from vision_attn.explainers.center import Center
from vision_attn.explainers.contrast import Contrast
from vision_attn.explainers.evidence import Evidence
from vision_attn.explainers.random import Random
from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric
from vision_attn.metrics.explanation.deletion import Deletion
from vision_attn.metrics.explanation.grid_pointing import GridPointing
from vision_attn.metrics.explanation.insertion import Insertion
from vision_attn.metrics.explanation.perturbation import STEPS
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.runs.folder import RunFolder

SECONDS = 40.0  # approximate time limit of a quick measurement
MAX_IMAGES, MIN_IMAGES = 64, 8
BATCH_SIZE = 16
SIDES = (3, 2)  # of grids; the first for which there are enough classes is used

Group = tuple[EvaluationBatch, dict[str, ExplanationMetric]]


@dataclass(frozen=True)
class MapQuality:
    """Faithfulness scores of heatmaps, per explainer.

    Attributes:
        images: number of explained images.
        higher_is_better: per metric, whether higher is better.
        scores: per explainer and metric: number of images, mean, median, quartiles.
        source: the `evaluation.json` that has these scores; None for a quick measurement.
        calibration: what is said of the evidence in cells against deleting them; empty if it was
            not measured.
        calibration_chart: the file that draws it; None if there is none.
    """

    images: int
    higher_is_better: dict[str, bool]
    scores: dict[str, dict[str, Summary]]
    source: str | None = None
    calibration: tuple[str, ...] = ()
    calibration_chart: Path | None = None


def map_quality(
    folder: RunFolder,
    model: AttentionClassifier,
    predictions: SplitPredictions,
    size: int,
    seconds: float = SECONDS,
) -> MapQuality:
    """The newest evaluation of the model in a run folder, or else a quick measurement.

    Raises:
        UserError: the model classifies too few images correctly, or is too slow.
    """
    return newest_evaluation(folder) or quick_measurement(model, predictions, size, seconds)


def newest_evaluation(folder: RunFolder) -> MapQuality | None:
    """Scores of the newest complete `evaluation.json` that is not older than the model, or None.

    Raises:
        UserError: the file is damaged.
    """
    trained = folder.weights.stat().st_mtime
    files = [
        p for p in folder.evaluations.glob("*/evaluation.json") if p.stat().st_mtime >= trained
    ]
    for newest in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        quality = quality_of(newest, folder)
        if quality is not None:
            return quality
    return None


def quality_of(newest: Path, folder: RunFolder) -> MapQuality | None:
    """The scores of an `evaluation.json`; None if that evaluation was stopped.

    Raises:
        UserError: the file is damaged.
    """
    content = read_json(newest)
    try:
        if content.get("complete") is False:  # earlier versions do not tell
            return None
        explainers = content["explainers"].items()
        scores = {name: result["scores"] for name, result in explainers if result["scores"]}
        measured = content.get("evidence_calibration")  # earlier versions have none
        calibration = sentences(measured) if measured else ()
        images, higher_is_better = (
            correct_count(content["images"]),
            content["higher_is_better"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{newest} is damaged ({first_line(error)}).") from None
    source, chart = newest.relative_to(folder.path).as_posix(), newest.with_name(CHART)
    drawn = chart if calibration and chart.is_file() else None
    return MapQuality(images, higher_is_better, scores, source, calibration, drawn)


def correct_count(images: dict[str, int]) -> int:
    """The number of explained images; evaluations of earlier versions call it `right`."""
    return images["correct"] if "correct" in images else images["right"]


def quick_measurement(
    model: AttentionClassifier, predictions: SplitPredictions, size: int, seconds: float
) -> MapQuality:
    """Score the model's own heatmaps and two controls, on as many images as time allows.

    Raises:
        UserError: as `map_quality`.
    """
    batch = correct_batch(model, predictions, size)
    explainers: dict[str, Explainer] = {
        "random": Random(),
        "center": Center(),
        "attention": Attention(),
        "evidence": Evidence(),
        "contrast": Contrast(),
    }
    groups = metric_groups(batch, len(explainers), seconds)
    total = len(explainers) * sum(part.parts(BATCH_SIZE) for part, _ in groups)
    with ProgressBar("scoring heatmaps", total, "batches", tells_time=False) as bar:
        results = {
            name: evaluate_explainer(explainer, groups, BATCH_SIZE, bar.advance)
            for name, explainer in explainers.items()
        }
    scores = {
        name: {metric: summary(values) for metric, values in result.scores.items()}
        for name, result in results.items()
    }
    used = {name: metric for _, metrics in groups for name, metric in metrics.items()}
    higher_is_better = {name: metric.higher_is_better for name, metric in used.items()}
    return MapQuality(len(batch), higher_is_better, scores)


def metric_groups(batch: EvaluationBatch, explainers: int, seconds: float) -> list[Group]:
    """Metrics with as many images as they can score in about the given time.

    Raises:
        UserError: the time is too short for every metric.
    """
    forward_seconds = seconds_per_image(batch)
    grids: list[Group] = []
    side = next((s for s in SIDES if len(batch.targets.unique()) >= s * s), None)
    if side is not None:
        # Attention takes a forward pass per cell, evidence and contrast one for all cells.
        count = min(int(seconds / 3 / (side**2 * (side**2 + 2) * forward_seconds)), len(batch))
        if count >= MIN_IMAGES:
            name = "grid_pointing" if side == SIDES[0] else f"grid_pointing:{side}"
            grids = prepare(batch, {name: GridPointing(side, count)})[0][1:]
            seconds *= 2 / 3
    count = min(int(seconds / (2 * (STEPS + 1) * explainers * forward_seconds)), len(batch))
    perturbation: dict[str, ExplanationMetric] = {}
    if count >= MIN_IMAGES:
        perturbation = {"insertion": Insertion(), "deletion": Deletion()}
    if not (grids or perturbation):
        raise UserError("the model is too slow on this machine for a quick measurement")
    count = max(count, 1)
    few = replace(batch, images=batch.images[:count], targets=batch.targets[:count])
    return [(few, perturbation), *grids]  # the original images come first, as in `prepare`


def correct_batch(
    model: AttentionClassifier, predictions: SplitPredictions, size: int
) -> EvaluationBatch:
    """Images that the model classifies correctly, balanced over the classes (round robin).

    Raises:
        UserError: there are too few.
    """
    correct = predictions.correct.nonzero().flatten().tolist()
    seen: dict[int, int] = {}
    rank = {}
    for index in correct:  # already in random order
        target = int(predictions.targets[index])
        rank[index] = seen[target] = seen.get(target, -1) + 1
    chosen = sorted(correct, key=lambda index: rank[index])[:MAX_IMAGES]
    if len(chosen) < MIN_IMAGES:
        raise UserError(f"the model classifies only {len(chosen)} images correctly")
    indices = [int(predictions.indices[index]) for index in chosen]
    images = [image for _, image in readable(predictions.split, indices, size)]
    device = model.backbone.mean.device
    return EvaluationBatch(
        model,
        to_unit_range(torch.stack(images).to(device)),
        predictions.targets[chosen].to(device),
    )


@torch.no_grad()
def seconds_per_image(batch: EvaluationBatch) -> float:
    """Seconds per image of a forward pass, measured on a few images after a warm-up."""
    images = batch.images[:16]
    batch.model(images)
    float(batch.model(images).sum())  # reading the result waits for the device
    started = time.perf_counter()
    float(batch.model(images).sum())
    return (time.perf_counter() - started) / len(images)
