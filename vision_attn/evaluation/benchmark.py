"""How far each kind of map can be believed: every explainer against every metric."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypedDict

import torch
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.core.heatmap import completeness_error
from vision_attn.explainers.base import Explainer
from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric, explain_batch


class Summary(TypedDict):
    """The scores of the images that could be scored; None where there is none."""

    images: int
    mean: float | None
    median: float | None
    quartiles: list[float] | None


Tick = Callable[[], None]
TIMED = 250  # images that are explained for speed and sums alone, where no metric asks for them


@dataclass
class ExplainerResult:
    """What one explainer scored.

    Attributes:
        scores: of each metric, one number an image; NaN where an image cannot be scored.
        images_per_second: how fast it explains, the first batch left out.
        completeness_error: the median of the maps' completeness errors; None if the method does not
            claim that its maps add up to something.
        failure: why it could not be used, if it could not.
    """

    scores: dict[str, Tensor] = field(default_factory=dict)
    images_per_second: float | None = None
    completeness_error: float | None = None
    failure: str | None = None


def prepare(
    batch: EvaluationBatch, metrics: Mapping[str, ExplanationMetric]
) -> tuple[list[tuple[EvaluationBatch, dict[str, ExplanationMetric]]], dict[str, str]]:
    """Which metrics look at which images, and why some cannot be used.

    Metrics that take the images as they are share them, and with them the heatmaps. These images
    come first; where there is no such metric, they are a few.
    """
    groups: list[tuple[EvaluationBatch, dict[str, ExplanationMetric]]] = [(batch, {})]
    left_out = {}
    for name, metric in metrics.items():
        if metric.needs_masks and batch.masks is None:
            left_out[name] = "this data does not say where the objects are (--truth)"
            continue
        try:
            prepared = metric.prepare(batch)
        except UserError as error:
            left_out[name] = str(error)
            continue
        if prepared is batch:
            groups[0][1][name] = metric
        else:
            groups.append((prepared, {name: metric}))
    if not groups[0][1]:
        groups[0] = (next(batch.split(TIMED)), {})
    return groups, left_out


def evaluate_explainer(
    explainer: Explainer,
    groups: list[tuple[EvaluationBatch, dict[str, ExplanationMetric]]],
    batch_size: int,
    tick: Tick,
) -> ExplainerResult:
    """One explainer against all metrics."""
    result = ExplainerResult()
    found: dict[str, list[Tensor]] = defaultdict(list)
    gaps: list[Tensor] = []
    seconds: list[tuple[float, int]] = []
    try:
        for number, (batch, metrics) in enumerate(groups):
            for part in replace(batch, explain=explainer).split(batch_size):
                started = clock(part.images)
                maps = explain_batch(part)
                if number == 0:  # the images as they are
                    seconds.append((clock(part.images) - started, len(maps)))
                    totals = explainer.expected_sum(part.model, part.images, part.targets)
                    gaps += [] if totals is None else [completeness_error(maps, totals)]
                for name, metric in metrics.items():
                    found[name].append(metric.score(part, maps))
                tick()
    except UserError as error:
        result.failure = str(error)
        return result
    result.scores = {
        name: metric.aggregate(torch.cat(found[name])).float().cpu()
        for _, metrics in groups
        for name, metric in metrics.items()
    }
    result.images_per_second = speed(seconds)
    result.completeness_error = torch.cat(gaps).nanmedian().item() if gaps else None
    return result


def clock(images: Tensor) -> float:
    """Seconds, once all that was begun on the images' device is done."""
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def speed(seconds: list[tuple[float, int]]) -> float:
    """Images a second, without the first batch, which chooses kernels and allocates."""
    counted = seconds[1:] or seconds
    return sum(count for _, count in counted) / sum(spent for spent, _ in counted)


def summary(scores: Tensor) -> Summary:
    """Count, mean, median and quartiles of those images that could be scored.

    >>> summary(torch.tensor([1.0, 2.0, 3.0, 4.0, float("nan")]))
    {'images': 4, 'mean': 2.5, 'median': 2.5, 'quartiles': [1.75, 3.25]}
    """
    counted = scores[~scores.isnan()].double()
    if not len(counted):
        return {"images": 0, "mean": None, "median": None, "quartiles": None}
    low, middle, high = counted.quantile(torch.tensor([0.25, 0.5, 0.75]).double()).tolist()
    return {
        "images": len(counted),
        "mean": counted.mean().item(),
        "median": middle,
        "quartiles": [low, high],
    }
