"""How far the run's maps can be believed: what `evaluate` found, or a quick look at few images."""

import json
import time
from dataclasses import dataclass, replace

import torch

from vision_attn.core.errors import UserError, first_line
from vision_attn.data.io.image import to_unit_range
from vision_attn.data.io.read_many import readable
from vision_attn.evaluation.benchmark import Summary, evaluate_explainer, prepare, summary
from vision_attn.evaluation.report.predictions import SplitPredictions
from vision_attn.explainers.attention import Attention
from vision_attn.explainers.base import Explainer
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

SECONDS = 40.0  # that a quick look may take, about
MOST, FEWEST = 64, 8  # images
SIDES = (3, 2)  # of grids, the first for which there are classes enough


Group = tuple[EvaluationBatch, dict[str, ExplanationMetric]]


@dataclass(frozen=True)
class MapQuality:
    """Scores of kinds of maps.

    Attributes:
        images: how many were explained.
        better: of each metric, whether higher is better.
        scores: by explainer and metric: how many were scored, mean, median, quartiles.
        source: the evaluation that these are from; None for a quick look.
    """

    images: int
    better: dict[str, bool]
    scores: dict[str, dict[str, Summary]]
    source: str | None = None


def map_quality(
    folder: RunFolder,
    model: AttentionClassifier,
    predictions: SplitPredictions,
    size: int,
    seconds: float = SECONDS,
) -> MapQuality:
    """The newest evaluation of the model in a run folder, or else a quick look.

    Raises:
        UserError: there are too few images that the model is right about, or it is too slow.
    """
    return evaluated(folder) or quick(model, predictions, size, seconds)


def evaluated(folder: RunFolder) -> MapQuality | None:
    """The newest `evaluation.json` of the run, if it is not older than the model.

    Raises:
        UserError: it is damaged.
    """
    trained = folder.weights.stat().st_mtime
    found = {p.stat().st_mtime: p for p in folder.evaluations.glob("*/evaluation.json")}
    if not found or max(found) < trained:
        return None
    newest = found[max(found)]
    try:
        content = json.loads(newest.read_text(encoding="utf-8"))
        scores = {name: of["scores"] for name, of in content["explainers"].items() if of["scores"]}
        images, better = (
            content["images"].get("correct", content["images"].get("right")),
            content["higher_is_better"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{newest} is damaged ({first_line(error)}).") from None
    return MapQuality(images, better, scores, newest.relative_to(folder.path).as_posix())


def quick(
    model: AttentionClassifier, predictions: SplitPredictions, size: int, seconds: float
) -> MapQuality:
    """The model's own maps, with random ones as a control, on as many images as time allows.

    Raises:
        UserError: as `belief`.
    """
    batch = correct_batch(model, predictions, size)
    own: dict[str, Explainer] = {
        "random": Random(),
        "attention": Attention(),
        "evidence": Evidence(),
        "contrast": Contrast(),
    }
    groups = suited(batch, len(own), seconds)
    results = {
        name: evaluate_explainer(explainer, groups, 16, lambda: None)
        for name, explainer in own.items()
    }
    scores = {
        name: {metric: summary(values) for metric, values in result.scores.items()}
        for name, result in results.items()
    }
    used = {name: metric for _, metrics in groups for name, metric in metrics.items()}
    better = {name: metric.higher_is_better for name, metric in used.items()}
    return MapQuality(len(batch), better, scores)


def suited(batch: EvaluationBatch, explainers: int, seconds: float) -> list[Group]:
    """Which metrics look at how many of the images, in about that time.

    Raises:
        UserError: the time is too short for any.
    """
    each = seconds_per_image(batch)
    grids: list[Group] = []
    side = next((s for s in SIDES if len(batch.targets.unique()) >= s * s), None)
    if side is not None:
        # Attention is asked for each cell anew, evidence and contrast once for all.
        count = min(int(seconds / 3 / (side**2 * (side**2 + 2) * each)), len(batch))
        if count >= FEWEST:
            name = "grid_pointing" if side == SIDES[0] else f"grid_pointing:{side}"
            grids = prepare(batch, {name: GridPointing(side, count)})[0][1:]
            seconds *= 2 / 3
    count = min(int(seconds / (2 * (STEPS + 1) * explainers * each)), len(batch))
    changed: dict[str, ExplanationMetric] = {}
    if count >= FEWEST:
        changed = {"insertion": Insertion(), "deletion": Deletion()}
    if not (grids or changed):
        raise UserError("the model is too slow on this machine for a quick look")
    count = max(count, 1)
    few = replace(batch, images=batch.images[:count], targets=batch.targets[:count])
    return [(few, changed), *grids]  # the images as they are come first, as `prepare` has them


def correct_batch(
    model: AttentionClassifier, predictions: SplitPredictions, size: int
) -> EvaluationBatch:
    """Images that the model is right about, the classes in turn.

    Raises:
        UserError: they are too few.
    """
    correct = predictions.correct.nonzero().flatten().tolist()
    seen: dict[int, int] = {}
    turn = {}
    for place in correct:  # already in an order that was drawn
        target = int(predictions.targets[place])
        turn[place] = seen[target] = seen.get(target, -1) + 1
    chosen = sorted(correct, key=lambda place: turn[place])[:MOST]
    if len(chosen) < FEWEST:
        raise UserError(f"the model is right about {len(chosen)} images only")
    places = [int(predictions.places[place]) for place in chosen]
    images = [image for _, image in readable(predictions.split, places, size)]
    device = model.backbone.mean.device
    return EvaluationBatch(
        model,
        to_unit_range(torch.stack(images).to(device)),
        predictions.targets[chosen].to(device),
    )


@torch.no_grad()
def seconds_per_image(batch: EvaluationBatch) -> float:
    """What a forward pass takes, measured on a few images after a first pass."""
    images = batch.images[:16]
    batch.model(images)
    float(batch.model(images).sum())  # the result is there: a device has finished
    started = time.perf_counter()
    float(batch.model(images).sum())
    return (time.perf_counter() - started) / len(images)
