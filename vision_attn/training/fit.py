"""Fit: train a model on images, test it, and leave everything in one run folder."""

import datetime
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from vision_attn.core.errors import UserError
from vision_attn.core.registry import short_path
from vision_attn.data.sources.base import ImageSource
from vision_attn.evaluation.report.page import write_report_at_end
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.lock import JOINED_RUN, check_not_started, train_lock
from vision_attn.runs.settings_summary import about_run
from vision_attn.runs.yaml_file import load_yaml
from vision_attn.training.auto_settings import auto_settings, recorded_auto_settings
from vision_attn.training.callbacks.best_model import SaveBestModel, spec_of
from vision_attn.training.callbacks.checkpoint_io import epoch_to_come
from vision_attn.training.callbacks.progress import Throughput
from vision_attn.training.callbacks.tensorboard_overlays import TensorBoardOverlays
from vision_attn.training.callbacks.terminate_on_nan import TerminateOnNaN
from vision_attn.training.config import (
    Config,
    merge,
    packaged_configs,
    read_config,
    read_config_file,
    resolve_data,
    with_full_names,
)
from vision_attn.training.config_trust import check_trusted
from vision_attn.training.failures import (
    BatchSettings,
    OutOfMemoryError,
    explain_checkpoint_mismatch,
    explain_failures,
    release_memory,
)
from vision_attn.training.image_tables import ImageRows, write_table
from vision_attn.training.init_from import init_from
from vision_attn.training.lightning_cli import TrainingCLI
from vision_attn.training.overrides import Pair, nested
from vision_attn.training.provenance import record_config, record_environment, record_splits
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
FINE_TUNING = {"model": {"stem_lr_scale": 0.1, "optimizer": {"init_args": {"lr": 0.001}}}}
"""Defaults for weights that were learned elsewhere; config files override them."""
MAY_CHANGE = ("data.batch_size",)
"""Settings of a resumed run that may differ: batches may not fit on another machine."""


@dataclass(frozen=True)
class FitRequest:
    """What the user asks `fit` to do.

    Attributes:
        data: a folder, a table, a named data set, or rows in memory; None if a file names it.
        configs: configuration files or names of packaged ones, merged from left to right.
        options: settings by dotted names, in the order in which they were given.
        run_dir: the run folder; None names it by date, time and data.
        init_from: a run or weights file to start from.
        resume: whether to go on with the run in `run_dir`.
        trust: dotted paths of the user's own classes that files may name.
        report: whether to write `report.html` at the end.
        overlays: whether TensorBoard shows attention on some validation images after each epoch.
        command: the command line or the Python call, for `environment.json`.
    """

    data: str | ImageRows | None = None
    configs: Sequence[str] = ()
    options: Sequence[Pair] = ()
    run_dir: Path | None = None
    init_from: Path | None = None
    resume: bool = False
    trust: Sequence[str] = ()
    report: bool = True
    overlays: bool = True
    command: Sequence[str] = ()

    @property
    def option_names(self) -> set[str]:
        """The settings that the user gave."""
        return {name for name, _ in self.options}


@dataclass(frozen=True)
class FitResult:
    """How a training ended.

    Attributes:
        folder: the run folder.
        interrupted: whether Ctrl-C stopped it.
        scores: the final scores, as in `metrics.json`.
        is_first_process: whether this process is the one that writes and prints.
    """

    folder: RunFolder
    interrupted: bool = False
    scores: Mapping[str, float] = field(default_factory=dict)
    is_first_process: bool = True


@dataclass(frozen=True)
class Attempt:
    """One training with a complete configuration.

    Attributes:
        request: what the user asked for.
        config: all settings.
        folder: the run folder.
        checkpoint: what the training resumes from; None starts anew.
    """

    request: FitRequest
    config: Config
    folder: RunFolder
    checkpoint: Path | None = None


def fit(request: FitRequest) -> FitResult:
    """Train, or go on with a training; see `FitRequest`.

    Raises:
        UserError: settings, images or files are not as they should be; nothing has changed then.
    """
    attempt = resumed_run(request) if request.resume else new_run(request)
    try:
        return retry_in_halves(attempt)
    except UserError:
        forget_table(attempt.folder)
        raise


def new_run(request: FitRequest) -> Attempt:
    """Put the configuration of a new run together: defaults < files < options."""
    request = with_packaged_config(request)
    config = read_config("defaults")
    files = [read_config(name, request.trust) for name in request.configs]
    options = with_full_names(nested(request.options))
    if request.init_from or wants_pretrained([*files, options]):
        config = merge(config, FINE_TUNING)
    if request.init_from:
        config = merge(config, settings_of(request.init_from, request.trust))
    for content in files:
        config = merge(config, content)
    if isinstance(request.data, str):
        config = merge(config, {"data": {"source": resolve_data(request.data)}})
    config = merge(config, options)
    if request.data is None and "class_path" not in config.get("data", {}).get("source", {}):
        raise UserError("name the images: --data DIR, or --data shapes to try it out.")
    # Lightning starts further processes with the same command; they join the first one's run.
    place = os.environ.get(JOINED_RUN) or request.run_dir or default_run_dir(config)
    folder = RunFolder(Path(place))
    if JOINED_RUN not in os.environ:
        check_not_started(folder)
    if request.data is not None and not isinstance(request.data, str):
        table = write_table(request.data, folder.table)
        config = merge(config, {"data": {"source": resolve_data(str(table))}})
    return Attempt(request, config, folder)


def with_packaged_config(request: FitRequest) -> FitRequest:
    """The request with the packaged configuration of a named data set, if no other is given."""
    named = isinstance(request.data, str) and request.data in packaged_configs()
    if request.configs or request.init_from or not named:
        return request
    print(f"settings  the packaged ones for {request.data} (another file: --config FILE)")
    return replace(request, configs=[cast(str, request.data)])


def wants_pretrained(configs: Sequence[Config]) -> bool:
    """Whether the backbone starts from pretrained weights; later configurations win.

    >>> wants_pretrained([{"model": {"pretrained": True}}])
    True
    >>> wants_pretrained([{"model": {"pretrained": True}}, {"model": {"pretrained": "false"}}])
    False
    """
    given = [content["model"]["pretrained"] for content in configs
             if "pretrained" in (content.get("model") or {})]  # fmt: skip
    return str([False, *given][-1]).lower() not in ("false", "none", "null")


def settings_of(source: Path, trusted: Sequence[str]) -> Config:
    """The settings that a run to start from brings: its backbone, pooling and image size.

    Raises:
        UserError: there is no such run or file, or it names a class that is not trusted.
    """
    if not source.exists():
        raise UserError(f"--init_from: there is no run or weights file {source}.")
    if not source.is_dir():
        return {}
    folder = RunFolder(source)
    settings = folder.load_spec().settings()
    check_trusted(settings, trusted, folder.spec_file)
    folder.load_model(trusted)  # once within its size limit, before untrusted settings are built
    return with_full_names(settings)


def default_run_dir(config: Config) -> Path:
    """`runs/<date-time>-<data>`."""
    source = config.get("data", {}).get("source") or {}
    arguments = source.get("init_args") or {}
    place = arguments.get("table") or arguments.get("root")
    name = "table"
    if "class_path" in source:
        name = short_path(ImageSource, source["class_path"]).rpartition(".")[2]
    if place:
        name = Path(place).name.removesuffix(".csv")
    return Path("runs") / f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}-{name}"


def resumed_run(request: FitRequest) -> Attempt:
    """Go on with a run as it was; only the trainer's settings and the batch size may change.

    Raises:
        UserError: there is nothing to resume from, or another setting is given.
    """
    folder = RunFolder((request.run_dir or Path("runs/latest")).resolve())
    if not folder.config.is_file() or not folder.last.is_file():
        missing = folder.last if folder.config.is_file() else folder.config
        raise UserError(
            f"--resume: {folder.path} has nothing to resume from ({missing} is missing)."
        )
    other = [
        name
        for name in sorted(request.option_names)
        if not name.startswith("trainer.") and name not in MAY_CHANGE
    ]
    given = {"data": request.data, "config": request.configs, "init_from": request.init_from}
    other += [name for name, value in given.items() if value]
    if other:
        raise UserError(
            f"--resume goes on with the run as it was, so --{other[0]} cannot change; "
            f"for a new run from its weights: --init_from {folder.path} --run_dir NEW."
        )
    config = read_config_file(folder.config, request.trust)
    return Attempt(request, merge(config, nested(request.options)), folder, folder.last)


def forget_table(folder: RunFolder) -> None:
    """Remove the table of a run that did not start."""
    if folder.table.is_file() and not folder.config.exists():
        folder.table.unlink()
        with suppress(OSError):  # there is something else in the folder
            folder.path.rmdir()


def retry_in_halves(attempt: Attempt) -> FitResult:
    """Train; once more with half the batch size, if an automatic batch size does not fit."""
    try:
        return train(attempt)
    except OutOfMemoryError as error:
        if not error.batches.may_be_halved:
            raise
        halves = error.batches.halves
        print(error.batches.message(attempt.folder.last.exists()), flush=True)
    release_memory()  # outside `except`: the traceback keeps the model alive
    folder = attempt.folder
    if not folder.last.exists():
        return train(replace(attempt, config=merge(attempt.config, halves)))
    config = merge(with_full_names(load_yaml(folder.config)), halves)
    return train(replace(attempt, config=config, checkpoint=folder.last))


def train(attempt: Attempt) -> FitResult:
    """Build task, data and trainer; record the run; fit, test and report."""
    checkpoint, folder, request = attempt.checkpoint, attempt.folder, attempt.request
    config = attempt.config
    pretrained = config["model"].get("pretrained", False)
    if checkpoint:  # it has every weight: nothing is fetched again
        config = merge(config, {"model": {"pretrained": False}})
    with folder.size_limit() if checkpoint else nullcontext():  # the run may be untrusted
        cli = TrainingCLI(config, folder)
    resolved = cli.resolved_config()
    model, data = cli.model.model, cli.datamodule
    if checkpoint:
        resolved["model"]["pretrained"] = pretrained
        data.first_epoch = epoch_to_come(checkpoint)
    loaded = ""
    if request.init_from:
        loaded = init_from(model, request.init_from, data.class_names)
    chosen = recorded_auto_settings(folder.config) if checkpoint else []
    chosen = chosen or auto_settings(cli.given_config(), resolved)
    chosen = [name for name in chosen if name not in request.option_names]
    data.setup("fit")  # unreadable images are reported before anything is written
    if not (checkpoint or request.init_from):
        model.backbone.init_from_data(data.sample)
    batches = BatchSettings(
        data.batch_size,
        cli.trainer.accumulate_grad_batches,
        may_be_halved="data.batch_size" in chosen and cli.trainer.world_size == 1,
    )
    resumed = checkpoint is not None
    with train_lock(folder, resumed), explain_failures(folder, batches):
        if cli.trainer.is_global_zero:
            print_summary(cli, resolved, loaded)
            record_config(folder, resolved, chosen)
            record_splits(folder, data, resumed)
            record_environment(folder, request.command, resolved["seed_everything"], data.splits)
        if not fit_trainer(cli, attempt, resolved):
            return FitResult(folder, interrupted=True)
        scores = test(cli, folder)
        if request.report and cli.trainer.is_global_zero:
            strategy, precision = cli.trainer.strategy, cli.trainer.precision_plugin
            model = model.to(strategy.root_device)
            about = about_run(resolved, data, model, chosen)
            write_report_at_end(folder, model, data, about, precision.forward_context)
        return FitResult(folder, False, scores, cli.trainer.is_global_zero)


def fit_trainer(cli: TrainingCLI, attempt: Attempt, resolved: Config) -> bool:
    """Run the trainer and keep the best weights; whether it ended without an interruption."""
    folder, data = attempt.folder, cli.datamodule
    spec = spec_of(cli.model.model, resolved["model"]["pooling"], data)
    # In this order: a model with NaN is never saved.
    added: list[Callback] = [TerminateOnNaN(folder), SaveBestModel(folder, spec, data.monitored)]
    if attempt.request.overlays:
        added.append(TensorBoardOverlays())
    callbacks = callbacks_of(cli.trainer)
    callbacks += added
    throughput = next(found for found in callbacks if isinstance(found, Throughput))
    try:
        with explain_checkpoint_mismatch(attempt.checkpoint, lambda: throughput.started > 0):
            cli.trainer.fit(cli.model, data, ckpt_path=attempt.checkpoint, weights_only=True)
    except SystemExit:  # Lightning's way to end a training at Ctrl-C
        return False
    return True


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
        print(f"{stage:<9} {', '.join(line)}")
    return found
