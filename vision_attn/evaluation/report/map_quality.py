"""How far the run's maps can be believed: what `evaluate` found, or a quick look at few images."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vision_attn.core.errors import UserError, first_line
from vision_attn.evaluation.benchmark import judge, prepare, summary
from vision_attn.evaluation.report.predictions import Outcome
from vision_attn.explainers.attention import Attention
from vision_attn.explainers.base import Explainer
from vision_attn.explainers.contrast import Contrast
from vision_attn.explainers.evidence import Evidence
from vision_attn.explainers.random import Random
from vision_attn.metrics.explanation.base import ExplanationMetric, Trial
from vision_attn.metrics.explanation.deletion import Deletion
from vision_attn.metrics.explanation.grid_pointing import GridPointing
from vision_attn.metrics.explanation.insertion import Insertion
from vision_attn.metrics.explanation.perturbation import STEPS
from vision_attn.models.classifier import AttentionClassifier

SECONDS = 40.0  # that a quick look may take, about
MOST, FEWEST = 64, 8  # images
SIDES = (3, 2)  # of grids, the first for which there are classes enough


Group = tuple[Trial, dict[str, ExplanationMetric]]


@dataclass(frozen=True)
class Belief:
    """Scores of kinds of maps.

    Attributes:
        images: how many were explained.
        better: of each metric, whether higher is better.
        scores: by explainer and metric: how many were scored, mean, median, quartiles.
        source: the evaluation that these are from; None for a quick look.
    """

    images: int
    better: dict[str, bool]
    scores: dict[str, dict[str, dict[str, Any]]]
    source: str | None = None


def belief(
    run: Path, model: AttentionClassifier, outcome: Outcome, size: int, seconds: float = SECONDS
) -> Belief:
    """The newest evaluation of the model in a run folder, or else a quick look.

    Raises:
        UserError: there are too few images that the model is right about, or it is too slow.
    """
    return evaluated(run) or quick(model, outcome, size, seconds)


def evaluated(run: Path) -> Belief | None:
    """The newest `evaluation.json` of the run, if it is not older than the model.

    Raises:
        UserError: it is damaged.
    """
    trained = (run / "model.safetensors").stat().st_mtime
    found = {p.stat().st_mtime: p for p in run.glob("evaluations/*/evaluation.json")}
    if not found or max(found) < trained:
        return None
    newest = found[max(found)]
    try:
        content = json.loads(newest.read_text(encoding="utf-8"))
        scores = {name: of["scores"] for name, of in content["explainers"].items() if of["scores"]}
        images, better = content["images"]["right"], content["higher_is_better"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{newest} is damaged ({first_line(error)}).") from None
    return Belief(images, better, scores, newest.relative_to(run).as_posix())


def quick(model: AttentionClassifier, outcome: Outcome, size: int, seconds: float) -> Belief:
    """The model's own maps, with random ones as a control, on as many images as time allows.

    Raises:
        UserError: as `belief`.
    """
    trial = right_ones(model, outcome, size)
    own: dict[str, Explainer] = {
        "random": Random(),
        "attention": Attention(),
        "evidence": Evidence(),
        "contrast": Contrast(),
    }
    groups = suited(trial, len(own), seconds)
    verdicts = {name: judge(explainer, groups, 16, lambda: None) for name, explainer in own.items()}
    scores = {
        name: {metric: summary(values) for metric, values in verdict.scores.items()}
        for name, verdict in verdicts.items()
    }
    used = {name: metric for _, metrics in groups for name, metric in metrics.items()}
    better = {name: metric.higher_is_better for name, metric in used.items()}
    return Belief(len(trial), better, scores)


def suited(trial: Trial, explainers: int, seconds: float) -> list[Group]:
    """Which metrics look at how many of the images, in about that time.

    Raises:
        UserError: the time is too short for any.
    """
    each = seconds_an_image(trial)
    grids: list[Group] = []
    side = next((s for s in SIDES if len(trial.targets.unique()) >= s * s), None)
    if side is not None:
        # Attention is asked for each cell anew, evidence and contrast once for all.
        count = min(int(seconds / 3 / (side**2 * (side**2 + 2) * each)), len(trial))
        if count >= FEWEST:
            name = "grid_pointing" if side == SIDES[0] else f"grid_pointing:{side}"
            grids = prepare(trial, {name: GridPointing(side, count)})[0][1:]
            seconds *= 2 / 3
    count = min(int(seconds / (2 * (STEPS + 1) * explainers * each)), len(trial))
    changed: dict[str, ExplanationMetric] = {}
    if count >= FEWEST:
        changed = {"insertion": Insertion(), "deletion": Deletion()}
    if not (grids or changed):
        raise UserError("the model is too slow on this machine for a quick look")
    count = max(count, 1)
    few = replace(trial, images=trial.images[:count], targets=trial.targets[:count])
    return [(few, changed), *grids]  # the images as they are come first, as `prepare` has them


def right_ones(model: AttentionClassifier, outcome: Outcome, size: int) -> Trial:
    """Images that the model is right about, the classes in turn.

    Raises:
        UserError: they are too few.
    """
    right = outcome.right.nonzero().flatten().tolist()
    seen: dict[int, int] = {}
    turn = {}
    for place in right:  # already in an order that was drawn
        target = int(outcome.targets[place])
        turn[place] = seen[target] = seen.get(target, -1) + 1
    chosen = sorted(right, key=lambda place: turn[place])[:MOST]
    if len(chosen) < FEWEST:
        raise UserError(f"the model is right about {len(chosen)} images only")
    images = [outcome.split.read(int(outcome.places[place]), size) for place in chosen]
    device = model.backbone.mean.device
    return Trial(
        model,
        torch.stack(images).to(device).float() / 255,
        outcome.targets[chosen].to(device),
    )


@torch.no_grad()
def seconds_an_image(trial: Trial) -> float:
    """What a forward pass takes, measured on a few images after a first pass."""
    images = trial.images[:16]
    trial.model(images)
    float(trial.model(images).sum())  # the result is there: a device has finished
    started = time.perf_counter()
    float(trial.model(images).sum())
    return (time.perf_counter() - started) / len(images)
