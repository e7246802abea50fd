"""Write the results of an evaluation as `evaluation.json` and `evaluation.png`."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from vision_attn.core.atomic import atomic_write, write_json
from vision_attn.evaluation.benchmark import ExplainerResult, Summary, summary
from vision_attn.evaluation.evidence_calibration import CalibrationSummary
from vision_attn.metrics.explanation.base import ExplanationMetric
from vision_attn.visualization.score_chart import CONTROL, OTHER, OWN, chart

CONTROLS = ("random", "center")
OWN_MAPS = ("attention", "evidence", "contrast")
Results = Mapping[str, ExplainerResult]


def summaries(results: Results) -> dict[str, dict[str, Summary]]:
    """Count, mean, median and quartiles per explainer and metric."""
    return {
        name: {metric: summary(values) for metric, values in result.scores.items()}
        for name, result in results.items()
    }


def write_scores(
    out: Path,
    results: Results,
    metrics: Mapping[str, ExplanationMetric],
    images: Mapping[str, int],
    left_out: Mapping[str, str],
    complete: bool,
    calibration: CalibrationSummary | None = None,
) -> None:
    """Write `evaluation.json` with the results so far; `complete` tells that there are no more."""
    scores = summaries(results)
    content = {
        "complete": complete,
        "images": {**images, "left_out": left_out},
        "higher_is_better": {name: metric.higher_is_better for name, metric in metrics.items()},
        "explainers": {
            name: {
                "scores": scores[name],
                "images_per_second": result.images_per_second,
                "completeness_error": result.completeness_error,
                "failure": result.failure,
            }
            for name, result in results.items()
        },
        "evidence_calibration": calibration,
    }
    write_json(out / "evaluation.json", content)


def score_chart_of(
    scores: Mapping[str, Mapping[str, Summary]], higher_is_better: Mapping[str, bool]
) -> Figure:
    """The chart of all scores, in which controls and the model's own maps have their colors."""
    colors = {
        name: CONTROL if name in CONTROLS else OWN if name in OWN_MAPS else OTHER for name in scores
    }
    return chart(scores, higher_is_better, colors)


def draw_chart(out: Path, results: Results, metrics: Mapping[str, ExplanationMetric]) -> None:
    """Draw `evaluation.png`, unless there are no metrics."""
    if not metrics:
        return
    higher_is_better = {name: metric.higher_is_better for name, metric in metrics.items()}
    figure = score_chart_of(summaries(results), higher_is_better)
    atomic_write(out / "evaluation.png", lambda path: figure.savefig(path, format="png"))
