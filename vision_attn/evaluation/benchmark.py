"""Benchmark the faithfulness of heatmaps: score explainers with explanation metrics."""

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
    """Summary statistics over the images that could be scored; None if there are no such images."""

    images: int
    mean: float | None
    median: float | None
    quartiles: list[float] | None


OnBatch = Callable[[], None]
MAX_TIMED = 250  # images for speed and completeness, if no metric uses the original images


@dataclass
class ExplainerResult:
    """The scores of one explainer.

    Attributes:
        scores: per metric, one value per image; NaN if the image cannot be scored.
        images_per_second: speed of explaining, without the first batch.
        completeness_error: the median over the heatmaps; None if the method does not claim that its
            heatmaps add up to an expected sum.
        failure: why the explainer could not be used; None if it could.
    """

    scores: dict[str, Tensor] = field(default_factory=dict)
    images_per_second: float | None = None
    completeness_error: float | None = None
    failure: str | None = None


def prepare(
    batch: EvaluationBatch, metrics: Mapping[str, ExplanationMetric]
) -> tuple[list[tuple[EvaluationBatch, dict[str, ExplanationMetric]]], dict[str, str]]:
    """Group the metrics by the images they use, so that heatmaps are computed once per group.

    The first group has the original images and the metrics that use them; if there is no such
    metric, it has only a few images, for measuring speed. Each metric that prepares images of its
    own is a group of its own.

    Returns:
        The groups (images and their metrics), and per unusable metric the reason.
    """
    groups: list[tuple[EvaluationBatch, dict[str, ExplanationMetric]]] = [(batch, {})]
    left_out = {}
    for name, metric in metrics.items():
        if metric.needs_masks and batch.masks is None:
            left_out[name] = "this data has no ground truth of the objects (--truth)"
            continue
        try:
            prepared = metric.prepare(batch)
        except UserError as error:
            left_out[name] = str(error)
            continue
        if prepared.images is batch.images and prepared.targets is batch.targets:
            batch = prepared
            groups[0] = (batch, {**groups[0][1], name: metric})
        else:
            groups.append((prepared, {name: metric}))
    if not groups[0][1]:
        groups[0] = (next(batch.split(MAX_TIMED)), {})
    return groups, left_out


def evaluate_explainer(
    explainer: Explainer,
    groups: list[tuple[EvaluationBatch, dict[str, ExplanationMetric]]],
    batch_size: int,
    on_batch: OnBatch,
) -> ExplainerResult:
    """Score one explainer with all metrics, and measure its speed and completeness.

    Args:
        explainer: the method to score.
        groups: images with their metrics, from `prepare`.
        batch_size: images per batch.
        on_batch: called after each batch.
    """
    result = ExplainerResult()
    scores: dict[str, list[Tensor]] = defaultdict(list)
    errors: list[Tensor] = []
    timings: list[tuple[float, int]] = []
    try:
        for index, (batch, metrics) in enumerate(groups):
            for part in replace(batch, explain=explainer).split(batch_size):
                started = clock(part.images)
                maps = explain_batch(part)
                if index == 0:  # the original images
                    timings.append((clock(part.images) - started, len(maps)))
                    sums = explainer.expected_sum(part.model, part.images, part.targets)
                    errors += [] if sums is None else [completeness_error(maps, sums)]
                for name, metric in metrics.items():
                    scores[name].append(metric.score(part, maps))
                on_batch()
    except UserError as error:
        result.failure = str(error)
        return result
    result.scores = {
        name: metric.aggregate(torch.cat(scores[name])).float().cpu()
        for _, metrics in groups
        for name, metric in metrics.items()
    }
    result.images_per_second = speed(timings)
    result.completeness_error = torch.cat(errors).nanmedian().item() if errors else None
    return result


def clock(images: Tensor) -> float:
    """Current time in seconds, after the device of the images has finished its work."""
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def speed(timings: list[tuple[float, int]]) -> float:
    """Images per second, without the first batch, which selects kernels and allocates memory."""
    counted = timings[1:] or timings
    return sum(count for _, count in counted) / sum(seconds for seconds, _ in counted)


def summary(scores: Tensor) -> Summary:
    """Count, mean, median and quartiles over the images that could be scored (not NaN).

    >>> summary(torch.tensor([1.0, 2.0, 3.0, 4.0, float("nan")]))
    {'images': 4, 'mean': 2.5, 'median': 2.5, 'quartiles': [1.75, 3.25]}
    """
    valid = scores[~scores.isnan()].double()
    if not len(valid):
        return {"images": 0, "mean": None, "median": None, "quartiles": None}
    low, median, high = valid.quantile(torch.tensor([0.25, 0.5, 0.75]).double()).tolist()
    return {
        "images": len(valid),
        "mean": valid.mean().item(),
        "median": median,
        "quartiles": [low, high],
    }
