"""Score a trained model on validation and test images, and print the closing lines."""

import math

from vision_attn.core.terminal import say
from vision_attn.runs.folder import RunFolder
from vision_attn.training.intervals import bounds, score_intervals, with_interval
from vision_attn.training.lightning_cli import TrainingCLI
from vision_attn.training.precision import full_precision

SCORES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "calibration_error": "calibration error",
    "loss": "loss",
}
"""The scores in the closing lines, and what they are called there."""
FEW = "; in parentheses 95 % intervals, since a class has fewer than 10 images"


def validation_score(cli: TrainingCLI) -> float:
    """The monitored score of the model as it is; -1 without validation images."""
    results = cli.trainer.validate(cli.model, cli.datamodule, verbose=False)
    cli.model.metrics_of("val").reset()  # new tensors: those of inference mode cannot be changed
    return float(results[0][cli.datamodule.monitored]) if results else -1.0


def final_scores(cli: TrainingCLI, folder: RunFolder) -> dict[str, float]:
    """Score the best weights on validation and test images; write and print the scores."""
    folder.fill(cli.model.model)
    found: dict[str, float] = {}
    for stage, score in (("val", cli.trainer.validate), ("test", cli.trainer.test)):
        if stage not in cli.datamodule.splits:
            continue
        with full_precision(cli.trainer):
            results = score(cli.model, cli.datamodule, verbose=False)
        if not (results and cli.trainer.is_global_zero):  # none with limit_val_batches 0
            continue
        (scores,) = results
        intervals = score_intervals(cli.model.outcomes, cli.datamodule, stage)
        found |= {name: float(value) for name, value in scores.items()}
        found |= bounds(stage, intervals)
        folder.add_metrics(found)
        line = [
            f"{name} {with_interval(scores[f'{stage}/{key}'], intervals.get(key))}"
            for key, name in SCORES.items()
            if math.isfinite(scores[f"{stage}/{key}"])
        ]
        say(f"{stage:<9} {', '.join(line)}{FEW if intervals else ''}")
    return found
