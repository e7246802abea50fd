"""Fit: train a model on images, test it, and write everything into one run folder."""

import math
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import cast

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say
from vision_attn.evaluation.report.page import write_report_at_end
from vision_attn.pooling.two_stages import TwoStages
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.lock import train_lock
from vision_attn.runs.model_spec import ModelSpec
from vision_attn.runs.settings_summary import about_run
from vision_attn.runs.yaml_file import load_yaml
from vision_attn.training.auto_settings import auto_settings, recorded_auto_settings
from vision_attn.training.both_stages import POOLING, with_earlier_stage
from vision_attn.training.calibration import HeldOut, calibrate, validation_logits
from vision_attn.training.callbacks.best_model import SaveBestModel, spec_of
from vision_attn.training.callbacks.checkpoint_io import next_epoch
from vision_attn.training.callbacks.progress import Throughput
from vision_attn.training.callbacks.tensorboard_overlays import TensorBoardOverlays
from vision_attn.training.callbacks.terminate_on_nan import TerminateOnNaN
from vision_attn.training.config import Config, merge, with_full_names
from vision_attn.training.failures import (
    BatchSettings,
    OutOfMemoryError,
    explain_checkpoint_mismatch,
    explain_failures,
    release_memory,
)
from vision_attn.training.fit_request import Attempt, FitRequest, new_run, resumed_run
from vision_attn.training.init_from import init_from
from vision_attn.training.lightning_cli import TrainingCLI
from vision_attn.training.probe.stage import ProbeResult, fit_probe
from vision_attn.training.provenance import (
    record_config,
    record_environment,
    record_splits,
    recorded_weights,
)
from vision_attn.training.refusal import check_length, undone_if_refused
from vision_attn.training.summary import print_summary

SCORES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "calibration_error": "calibration error",
    "loss": "loss",
}
"""The scores in the closing lines, and what they are called there."""


@dataclass(frozen=True)
class FitResult:
    """The result of `fit`.

    Attributes:
        folder: the run folder.
        interrupted: whether Ctrl-C stopped it.
        scores: the final scores, as in `metrics.json`.
        is_first_process: whether this process is the one that writes and prints.
        can_resume: whether `--resume` continues it, after an interruption.
    """

    folder: RunFolder
    interrupted: bool = False
    scores: Mapping[str, float] = field(default_factory=dict)
    is_first_process: bool = True
    can_resume: bool = False


def fit(request: FitRequest) -> FitResult:
    """Train a model, or resume a training; see `FitRequest`.

    Raises:
        UserError: invalid settings, images or files.
    """
    attempt = resumed_run(request) if request.resume else new_run(request)
    try:
        return train_with_retry(attempt)
    except UserError:
        remove_table(attempt.folder)
        raise


def remove_table(folder: RunFolder) -> None:
    """Remove the image table of a run that did not start."""
    if folder.table.is_file() and not folder.config.exists():
        folder.table.unlink()
        with suppress(OSError):  # the folder contains other files
            folder.path.rmdir()


def train_with_retry(attempt: Attempt) -> FitResult:
    """Train; if an automatic batch size does not fit into memory, retry once with half of it."""
    try:
        return train(attempt)
    except OutOfMemoryError as error:
        if not error.batches.may_be_halved:
            raise
        halves = error.batches.halves
        say(error.batches.message(attempt.folder.last.exists()))
    release_memory()  # outside `except`: the traceback keeps the model alive
    folder = attempt.folder
    if not folder.last.exists():
        return train(replace(attempt, config=merge(attempt.config, halves)))
    config = merge(with_full_names(load_yaml(folder.config)), halves)
    return train(replace(attempt, config=config, checkpoint=folder.last))


@dataclass(frozen=True)
class Preparation:
    """A training that is ready to start; nothing is written yet.

    Attributes:
        cli: task, data and trainer.
        resolved: all settings.
        chosen: the settings that were chosen automatically.
        spec: the content of `model.json`.
        loaded: a line on weights that were loaded from another run or file.
    """

    cli: TrainingCLI
    resolved: Config
    chosen: list[str]
    spec: ModelSpec
    loaded: str = ""


def train(attempt: Attempt) -> FitResult:
    """Build task, data and trainer; record the run; fit, test and report."""
    ready = prepare(attempt)
    cli, folder = ready.cli, attempt.folder
    batches = BatchSettings(
        cli.datamodule.batch_size,
        cli.trainer.accumulate_grad_batches,
        may_be_halved="data.batch_size" in ready.chosen and cli.trainer.world_size == 1,
    )
    with (
        undone_if_refused(folder, lambda: cli.stages.probe or has_started(cli)),
        train_lock(folder, attempt.checkpoint is not None),
        explain_failures(folder, batches),
    ):
        if cli.trainer.is_global_zero:
            record(attempt, ready)
        return run_stages(attempt, ready)


def prepare(attempt: Attempt) -> Preparation:
    """Build task, data and trainer, load weights, and read the images.

    Raises:
        UserError: invalid settings, images or weights.
    """
    checkpoint, folder, request = attempt.checkpoint, attempt.folder, attempt.request
    config = attempt.config
    pretrained = config["model"].get("pretrained", False)
    if checkpoint:  # it contains all weights: do not download them again
        config = merge(config, {"model": {"pretrained": False}})
    with folder.size_limit() if checkpoint else nullcontext():  # the run may be untrusted
        cli = TrainingCLI(config, folder)
    resolved = cli.resolved_config()
    model, data = cli.model.model, cli.datamodule
    if checkpoint:
        resolved["model"]["pretrained"] = pretrained
        data.first_epoch = next_epoch(checkpoint)
        check_length(checkpoint, cli.trainer.max_epochs, cli.trainer.max_steps)
    source = request.init_from
    loaded = init_from(model, source, data.class_names) if source else ""
    chosen = recorded_auto_settings(folder.config)
    if not chosen:
        chosen = [*auto_settings(cli.given_config(), resolved), *attempt.weights.chosen]
        chosen += [POOLING] * (attempt.open_stages and cli.stages.probe)
    data.setup("fit")  # unreadable images are reported before anything is written
    if not (checkpoint or source):
        model.backbone.init_from_data(data.sample)
    weights = attempt.weights.record or recorded_weights(folder)
    spec = spec_of(model, resolved["model"]["pooling"], data, weights)  # refuses what is too large
    names = [name for name in chosen if name not in request.option_names]
    return Preparation(cli, resolved, names, spec, loaded)


def record(attempt: Attempt, ready: Preparation) -> None:
    """Print the summary, and write settings, splits and environment into the run folder."""
    cli, folder, data = ready.cli, attempt.folder, ready.cli.datamodule
    print_summary(cli, ready.resolved, ready.loaded, attempt.weights)
    record_config(folder, ready.resolved, ready.chosen)
    record_splits(folder, data, attempt.checkpoint is not None)
    seed, command = ready.resolved["seed_everything"], attempt.request.command
    record_environment(folder, command, seed, data.splits, ready.spec.weights)


def run_stages(attempt: Attempt, ready: Preparation) -> FitResult:
    """Fit the probe, if there is one; train; calibrate; test; report."""
    cli, folder = ready.cli, attempt.folder
    try:
        probe = run_probe(attempt, ready) if cli.stages.probe else None
    except KeyboardInterrupt:
        return FitResult(folder, interrupted=True, can_resume=True)
    ready = record_probe(attempt, ready, probe) if probe else ready
    spec = ready.spec
    if cli.stages.tune and not fit_trainer(cli, attempt, spec, probe):
        can_resume = folder.last.exists() or cli.stages.probe
        return FitResult(folder, interrupted=True, can_resume=can_resume)
    if probe and cli.trainer.is_global_zero:
        folder.add_metrics({"out_of_fold/accuracy": probe.accuracy})
    if ready.resolved["calibrate"]:
        calibrate_best(cli, folder, spec, None if cli.stages.tune else probe)
    scores = test(cli, folder)
    if attempt.request.report and cli.trainer.is_global_zero:
        write_report(ready, folder)
    return FitResult(folder, False, scores, cli.trainer.is_global_zero)


def write_report(ready: Preparation, folder: RunFolder) -> None:
    """Write `report.html`."""
    cli, data = ready.cli, ready.cli.datamodule
    model = cli.model.model.to(cli.trainer.strategy.root_device)
    about = about_run(ready.resolved, data, model, ready.chosen)
    write_report_at_end(folder, model, data, about, cli.trainer.precision_plugin.forward_context)


def run_probe(attempt: Attempt, ready: Preparation) -> ProbeResult:
    """Fit pooling and head on features of the frozen backbone."""
    cli = ready.cli
    strategy, precision = cli.trainer.strategy, cli.trainer.precision_plugin
    model = cli.model.model.to(strategy.root_device)
    seed, folder = int(cli.given_config()["seed_everything"]), attempt.folder.path
    context, may_add = precision.forward_context, attempt.open_stages
    return fit_probe(model, cli.datamodule, folder, context, seed, may_add)


def record_probe(attempt: Attempt, ready: Preparation, probe: ProbeResult) -> Preparation:
    """Save the model of the probe; the preparation, with the stages that it chose."""
    ready = with_both_stages(ready) if probe.both_stages else ready
    if ready.cli.trainer.is_global_zero:
        record_config(attempt.folder, ready.resolved, ready.chosen)
        attempt.folder.save_model(ready.cli.model.model, ready.spec)
    return ready


def with_both_stages(ready: Preparation) -> Preparation:
    """The preparation, with the pooling to which the probe added the stage before the last."""
    pooling = cast(TwoStages, ready.cli.model.model.pooling)
    both = with_earlier_stage(ready.spec.pooling, len(pooling.earlier.queries))
    resolved = merge(ready.resolved, {"model": {"pooling": both}})
    return replace(ready, resolved=resolved, spec=replace(ready.spec, pooling=both))


def fit_trainer(
    cli: TrainingCLI, attempt: Attempt, spec: ModelSpec, probe: ProbeResult | None
) -> bool:
    """Run the trainer and save the best weights; returns False if Ctrl-C interrupted it.

    After a probe, weights are only saved if they are better than the probe's on validation images.
    """
    folder, data = attempt.folder, cli.datamodule
    best = SaveBestModel(folder, spec, data.monitored)
    if probe:
        best.to_beat = validation_score(cli)
        say(f"probe     {data.monitored} {best.to_beat:.4f}; tuning is kept only if it is better")
    # In this order: a model with NaN is never saved.
    added: list[Callback] = [TerminateOnNaN(folder), best]
    if attempt.request.overlays:
        added.append(TensorBoardOverlays())
    callbacks = callbacks_of(cli.trainer)
    callbacks += added
    try:
        with explain_checkpoint_mismatch(attempt.checkpoint, lambda: has_started(cli)):
            cli.trainer.fit(cli.model, data, ckpt_path=attempt.checkpoint, weights_only=True)
    except SystemExit:  # Lightning raises it at Ctrl-C
        return False
    if best.to_beat >= 0:
        say(f"tuning    {best.outcome}")
    return True


def calibrate_best(
    cli: TrainingCLI, folder: RunFolder, spec: ModelSpec, probe: ProbeResult | None
) -> None:
    """Calibrate the saved model on held-out images, and write the temperature to `model.json`.

    The weights stay as they were saved, so that a run that is stopped here and resumed ends alike.

    Args:
        cli: task, data and trainer.
        folder: the run folder.
        spec: the content of `model.json`.
        probe: whose logits out of fold are used; None takes those of the validation images.
    """
    model = cli.model.model.to(cli.trainer.strategy.root_device)
    folder.fill_uncalibrated(model)
    if probe:
        held_out = HeldOut(probe.logits, probe.targets, "training images, out of fold")
    else:
        forward_context = cli.trainer.precision_plugin.forward_context
        held_out = validation_logits(model, cli.datamodule, forward_context)
    temperature = calibrate(model, held_out)
    cli.model.use_activation(model.activation)
    if cli.trainer.is_global_zero:
        folder.save_spec(replace(spec, temperature=temperature, activation=model.activation))


def validation_score(cli: TrainingCLI) -> float:
    """The monitored score of the model as it is; -1 without validation images."""
    results = cli.trainer.validate(cli.model, cli.datamodule, verbose=False)
    cli.model.metrics_of("val").reset()  # new tensors: those of inference mode cannot be changed
    return float(results[0][cli.datamodule.monitored]) if results else -1.0


def has_started(cli: TrainingCLI) -> bool:
    """Whether the first step of the training was taken."""
    return any(
        found.started > 0 for found in callbacks_of(cli.trainer) if isinstance(found, Throughput)
    )


def callbacks_of(trainer: pl.Trainer) -> list[Callback]:
    """The trainer's callbacks, an attribute that Lightning does not declare."""
    return trainer.callbacks  # type: ignore[attr-defined]


def test(cli: TrainingCLI, folder: RunFolder) -> dict[str, float]:
    """Score the best weights on validation and test images; write and print the scores."""
    folder.fill(cli.model.model)
    found: dict[str, float] = {}
    for stage, score in (("val", cli.trainer.validate), ("test", cli.trainer.test)):
        if stage not in cli.datamodule.splits:
            continue
        results = score(cli.model, cli.datamodule, verbose=False)
        if not (results and cli.trainer.is_global_zero):  # none with limit_val_batches 0
            continue
        (scores,) = results
        found |= {name: float(value) for name, value in scores.items()}
        folder.add_metrics(found)
        line = [
            f"{name} {scores[f'{stage}/{key}']:.4f}"
            for key, name in SCORES.items()
            if math.isfinite(scores[f"{stage}/{key}"])
        ]
        say(f"{stage:<9} {', '.join(line)}")
    return found
