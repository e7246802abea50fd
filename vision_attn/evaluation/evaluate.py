"""Evaluate the explainers of a run with explanation metrics; write and print the scores."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.core.progress import ProgressBar
from vision_attn.core.registry import create_all
from vision_attn.core.terminal import say
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.io.image import to_unit_range
from vision_attn.data.io.read_many import readable
from vision_attn.data.splits import evenly_spaced
from vision_attn.evaluation.benchmark import ExplainerResult, evaluate_explainer, prepare
from vision_attn.evaluation.evidence_calibration import about, describe, draw
from vision_attn.evaluation.report.map_verdict import losers
from vision_attn.evaluation.results import CONTROLS, draw_chart, summaries, write_scores
from vision_attn.evaluation.table import score_tables
from vision_attn.explainers.base import Explainer
from vision_attn.metrics.explanation.base import EvaluationBatch, ExplanationMetric
from vision_attn.runs.loaded_model import LoadedModel

WIDTH = 100  # characters per line if the output is not a terminal


@dataclass(frozen=True)
class EvaluationRequest:
    """The explainers, metrics and number of images of an evaluation.

    Attributes:
        explainers: by name, including the controls.
        metrics: by name.
        limit: maximum number of images, evenly spaced over the split.
        batch_size: images per batch.
    """

    explainers: dict[str, Explainer]
    metrics: dict[str, ExplanationMetric]
    limit: int = 500
    batch_size: int = 32

    @classmethod
    def from_names(
        cls, explainers: Sequence[str], metrics: Sequence[str], limit: int, batch_size: int
    ) -> "EvaluationRequest":
        """Create a request from the names of explainers and metrics; adds the controls.

        Raises:
            UserError: an explainer or metric does not exist.
        """
        chosen = create_all(Explainer, explainers, "--explainers")
        controls = create_all(Explainer, CONTROLS, "controls")
        chosen_metrics = create_all(ExplanationMetric, metrics, "--metrics")
        return cls(controls | chosen, chosen_metrics, limit, batch_size)


@dataclass
class Evaluation:
    """The results of an evaluation.

    Attributes:
        metrics: the metrics that could be used, in the order of the request.
        images: number of images that were read ("seen") and explained ("correct").
        left_out: per metric that could not be used, the reason.
        results: per explainer, by name.
    """

    metrics: dict[str, ExplanationMetric]
    images: dict[str, int]
    left_out: dict[str, str]
    results: dict[str, ExplainerResult] = field(default_factory=dict)


def evaluate(
    model: LoadedModel, data: ImageDataModule, stage: str, request: EvaluationRequest, out: Path
) -> Evaluation:
    """Score every explainer, and write the scores after each one, so an interrupted run keeps them.

    Args:
        model: the trained model of a run.
        data: the images of the run, or other images.
        stage: the split to explain.
        request: explainers, metrics and number of images.
        out: the folder for `evaluation.json` and `evaluation.png`.

    Raises:
        UserError: no image can be read, or the model classifies none correctly.
    """
    batch, seen = correct_images(model, data, stage, request)
    groups, left_out = prepare(batch, request.metrics)
    say(f"explained  {len(batch)} of {seen} images: those that the model classifies correctly")
    for name, reason in left_out.items():
        say(f"left out   {name}: {reason}")
    used = {name: metric for _, group in groups for name, metric in group.items()}
    metrics = {name: used[name] for name in request.metrics if name in used}
    effects = groups[0][0].effects
    calibration = None
    if effects is not None:
        calibration = about(effects)
        draw(out, effects)
        for line in describe(calibration):
            say(line)
    evaluation = Evaluation(metrics, {"seen": seen, "correct": len(batch)}, left_out)
    batches = sum(part.parts(request.batch_size) for part, _ in groups)
    total = batches * len(request.explainers)
    with ProgressBar("explaining", total, "batches", tells_time=False) as bar:
        for number, (name, explainer) in enumerate(request.explainers.items(), 1):
            bar.rename(f"explaining {name} ({number} of {len(request.explainers)})")
            evaluation.results[name] = evaluate_explainer(
                explainer, groups, request.batch_size, bar.advance
            )
            done = number == len(request.explainers)
            images = evaluation.images
            write_scores(out, evaluation.results, used, images, left_out, done, calibration)
    draw_chart(out, evaluation.results, used)
    return evaluation


def correct_images(
    model: LoadedModel, data: ImageDataModule, stage: str, request: EvaluationRequest
) -> tuple[EvaluationBatch, int]:
    """The images that the model classifies correctly, and the number of images read.

    Raises:
        UserError: the model classifies no image correctly.
    """
    pixels, labels, masks = read_images(data, stage, request.limit)
    images, targets = to_unit_range(pixels.to(model.device)), labels.to(model.device)
    with torch.no_grad():
        logits = torch.cat([model.model(batch) for batch in images.split(250)])
    correct = logits.argmax(1) == targets
    if not correct.any():
        raise UserError(
            f"the model classifies none of {len(images)} images correctly, so none is explained."
        )
    batch = EvaluationBatch(model.model, images[correct], targets[correct])
    if masks is not None:
        batch = replace(batch, masks=masks.to(model.device)[correct])
    return batch, len(images)


def read_images(
    data: ImageDataModule, stage: str, limit: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Read up to `limit` images (uint8), targets and masks, evenly spaced over a split.

    Raises:
        UserError: no image can be read, or there are masks and all are empty.
    """
    split = data.split(stage)
    images, targets, masks = [], [], []
    for index, image in readable(split, evenly_spaced(len(split), limit), data.image_size):
        images.append(image)
        targets.append(data.class_names.index(split.labels[index]))
        if split.read_mask is not None:
            masks.append(split.read_mask(index, data.image_size))
    if not images:
        raise UserError(
            "none of the images could be read; look for problems with vision-attn check."
        )
    with_object = sum(bool(mask.any()) for mask in masks)
    if masks and not with_object:
        raise UserError("no image has an object in --truth or boxes.csv; do the file names match?")
    if masks:
        say(f"objects    known in {with_object} of {len(images)} images")
    return torch.stack(images), torch.tensor(targets), torch.stack(masks) if masks else None


def print_tables(evaluation: Evaluation) -> None:
    """Print the scores as tables that fit the terminal, and the explainers that failed."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    results = evaluation.results
    higher_is_better = {
        name: metric.higher_is_better for name, metric in evaluation.metrics.items()
    }
    extra_columns = {
        "adds up to": [
            "" if result.completeness_error is None else f"±{result.completeness_error:.1e}"
            for result in results.values()
        ],
        "images/s": [
            "" if result.images_per_second is None else f"{result.images_per_second:.0f}"
            for result in results.values()
        ],
    }
    for table in score_tables(summaries(results), higher_is_better, extra_columns, console.width):
        console.print()
        console.print(table, highlight=False)
    if losers(summaries(results), higher_is_better):
        say("✗ not better than a control (random, center)")
    console.print()
    for name, result in results.items():
        if result.failure:
            say(f"left out   {name}: {result.failure}")
