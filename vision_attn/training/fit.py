"""Fit: train a model on images, test it, and write everything into one run folder."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from lightning.pytorch.callbacks import Callback

from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say
from vision_attn.evaluation.report.page import write_report_at_end
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.lock import JOINED_RUN, train_lock
from vision_attn.runs.model_spec import ModelSpec
from vision_attn.runs.settings_summary import about_run
from vision_attn.runs.yaml_file import load_yaml
from vision_attn.training.calibration import HeldOut, calibrate, validation_logits
from vision_attn.training.callbacks.best_model import SaveBestModel
from vision_attn.training.callbacks.tensorboard_overlays import TensorBoardOverlays
from vision_attn.training.callbacks.terminate_on_nan import TerminateOnNaN
from vision_attn.training.callbacks.throughput import Throughput, callbacks_of
from vision_attn.training.callbacks.time_limit import TimeLimit
from vision_attn.training.config import merge, with_full_names
from vision_attn.training.deadline import Deadline
from vision_attn.training.duration import is_accelerated
from vision_attn.training.failures import (
    BatchSettings,
    OutOfMemoryError,
    explain_checkpoint_mismatch,
    explain_failures,
    release_memory,
)
from vision_attn.training.final_scores import final_scores, validation_score
from vision_attn.training.first_stage import record_probe, run_probe
from vision_attn.training.fit_request import Attempt, FitRequest, new_run, resumed_run
from vision_attn.training.lightning_cli import TrainingCLI
from vision_attn.training.overrides import nested
from vision_attn.training.prepare import Preparation, prepare
from vision_attn.training.probe.stage import ProbeResult
from vision_attn.training.processes.group import joined
from vision_attn.training.processes.launcher import check_devices, launched
from vision_attn.training.processes.start import check_alike, load_from_first, shared_start
from vision_attn.training.provenance import (
    Processes,
    record_config,
    record_end,
    record_environment,
    record_splits,
)
from vision_attn.training.refusal import undone_if_refused
from vision_attn.training.summary import print_summary

REPORT_SECONDS = 15.0  # of the time that is left; in less no report can be made


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
    launch = launched()
    if launch is None or launch.count == 1:
        return fit_in_process(request, lambda: starting_point(request))
    with joined(launch) as group:
        return fit_in_process(request, lambda: shared_start(request, group, starting_point))


def starting_point(request: FitRequest) -> Attempt:
    """The configuration of a new or a resumed run."""
    return resumed_run(request) if request.resume else new_run(request)


def fit_in_process(request: FitRequest, start: Callable[[], Attempt]) -> FitResult:
    """Train in this process, perhaps together with others."""
    deadline = Deadline(request.max_minutes, request.started)
    attempt = replace(start(), deadline=deadline)
    deadline.check_settings(attempt.config.get("trainer") or {})
    try:
        check_processes(attempt)
        return train_with_retry(attempt)
    except UserError:
        remove_table(attempt.folder)
        raise


def check_processes(attempt: Attempt) -> None:
    """Refuse numbers of devices that contradict the launcher; a resumed run may have others.

    Raises:
        UserError: it says what to set.
    """
    recorded = attempt.config.get("trainer") or {}
    asked = nested(attempt.request.options).get("trainer") or {}
    given = asked if attempt.request.resume else recorded
    accelerated = is_accelerated(str(recorded.get("accelerator", "auto")))
    check_devices(launched(), given, accelerated)


def remove_table(folder: RunFolder) -> None:
    """Remove the image table of a run that did not start."""
    if JOINED_RUN not in os.environ and folder.table.is_file() and not folder.config.exists():
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
        undone_if_refused(folder, lambda: has_started(cli, folder)),
        train_lock(folder, attempt.checkpoint is not None),
        explain_failures(folder, batches),
    ):
        if cli.trainer.is_global_zero:
            record(attempt, ready)
        if attempt.group is not None:
            check_alike(attempt.group, ready.resolved, cli.datamodule.splits)
        return run_stages(attempt, ready)


def record(attempt: Attempt, ready: Preparation) -> None:
    """Print the summary, and write settings, splits and environment into the run folder."""
    cli, folder, data = ready.cli, attempt.folder, ready.cli.datamodule
    print_summary(cli, ready.resolved, ready.loaded, attempt.weights)
    record_config(folder, ready.resolved, ready.chosen)
    record_splits(folder, data, attempt.checkpoint is not None)
    seed, command = ready.resolved["seed_everything"], attempt.request.command
    processes = Processes(cli.trainer.world_size, data.batch_size)
    record_environment(folder, command, seed, data.splits, ready.spec.weights, processes)


def run_stages(attempt: Attempt, ready: Preparation) -> FitResult:
    """Fit the probe, if there is one; train; calibrate; test; report."""
    cli, folder = ready.cli, attempt.folder
    try:
        probe = run_probe(attempt, ready) if cli.stages.probe and not follows(attempt) else None
    except KeyboardInterrupt:
        return FitResult(folder, interrupted=True, can_resume=True)
    ready = record_probe(attempt, ready, probe) if probe else ready
    if attempt.group is not None and cli.stages.probe:
        load_from_first(attempt, cli.model.model)
    spec = ready.spec
    if cli.stages.tune and not fit_trainer(cli, attempt, spec):
        can_resume = folder.last.exists() or cli.stages.probe
        return FitResult(folder, interrupted=True, can_resume=can_resume)
    if probe and cli.trainer.is_global_zero:
        folder.add_metrics({"out_of_fold/accuracy": probe.accuracy})
    if ready.resolved["calibrate"] and not follows(attempt):
        calibrate_best(cli, folder, spec, None if cli.stages.tune else probe)
    attempt.wait_for_all()
    if follows(attempt):
        cli.model.use_activation(folder.load_spec().activation)
    scores = final_scores(cli, folder)
    if cli.trainer.is_global_zero:
        record_end(folder)
    if attempt.request.report and cli.trainer.is_global_zero:
        write_report(attempt, ready)
    return FitResult(folder, False, scores, cli.trainer.is_global_zero)


def write_report(attempt: Attempt, ready: Preparation) -> None:
    """Write `report.html`, in the time that is left."""
    cli, folder, deadline = ready.cli, attempt.folder, attempt.deadline
    deadline.closing = 0.0
    if deadline.seconds_left < REPORT_SECONDS:
        say(
            f"report    left out, no time of --max_minutes {deadline.minutes:g} is left "
            f"(vision-attn report {folder.path})"
        )
        return
    model = cli.model.model.to(cli.trainer.strategy.root_device)
    about = about_run(ready.resolved, cli.datamodule, model, ready.chosen)
    write_report_at_end(folder, model, cli.datamodule, about, deadline.seconds_left)


def follows(attempt: Attempt) -> bool:
    """Whether another process that a launcher started decides and writes."""
    return attempt.group is not None and attempt.group.rank > 0


def fit_trainer(cli: TrainingCLI, attempt: Attempt, spec: ModelSpec) -> bool:
    """Run the trainer and save the best weights; returns False if Ctrl-C interrupted it.

    After a probe, weights are only saved if they are better than the probe's on validation images.
    """
    folder, data = attempt.folder, cli.datamodule
    best = SaveBestModel(folder, spec, data.monitored)
    if cli.stages.probe:
        best.to_beat = validation_score(cli)
        say(f"probe     {data.monitored} {best.to_beat:.4f}; tuning is kept only if it is better")
        if not time_to_tune(cli, attempt.deadline):
            return True
    # In this order: a model with NaN is never saved.
    added: list[Callback] = [TerminateOnNaN(folder), best]
    if attempt.request.overlays:
        added.append(TensorBoardOverlays())
    limit = TimeLimit(attempt.deadline, throughput_of(cli))
    if attempt.deadline.is_set:
        added.append(limit)
    callbacks = callbacks_of(cli.trainer)
    callbacks += added
    try:
        with explain_checkpoint_mismatch(
            attempt.checkpoint, lambda: throughput_of(cli).started > 0
        ):
            cli.trainer.fit(cli.model, data, ckpt_path=attempt.checkpoint, weights_only=True)
    except SystemExit:  # Lightning raises it at Ctrl-C
        return False
    if limit.outcome(cli.trainer) and cli.trainer.is_global_zero:
        say(f"stopped   {limit.outcome(cli.trainer)}; to go on: --run_dir {folder.path} --resume")
    if best.to_beat >= 0:
        say(f"tuning    {best.outcome}")
    return True


def time_to_tune(cli: TrainingCLI, deadline: Deadline) -> bool:
    """Whether there is time for a step and its validation; a line says if there is none."""
    enough = deadline.seconds_left > throughput_of(cli).validation.value
    found = cli.trainer.strategy.broadcast(enough)  # the clock of one process decides for all
    if not found and cli.trainer.is_global_zero:
        say(f"tuning    left out, no time of --max_minutes {deadline.minutes:g} is left")
    return found


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


def has_started(cli: TrainingCLI, folder: RunFolder) -> bool:
    """Whether the first step of the training was taken, or the probe saved a model."""
    return throughput_of(cli).started > 0 or (cli.stages.probe and folder.weights.exists())


def throughput_of(cli: TrainingCLI) -> Throughput:
    """The callback that measures the training."""
    return next(found for found in callbacks_of(cli.trainer) if isinstance(found, Throughput))
