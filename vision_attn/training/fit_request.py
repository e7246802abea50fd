"""The arguments of `fit` (`FitRequest`), and the complete configuration they result in."""

import datetime
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import cast

from vision_attn.core.errors import UserError, did_you_mean
from vision_attn.core.registry import short_path
from vision_attn.core.terminal import say
from vision_attn.data.sources.base import ImageSource
from vision_attn.runs.folder import RunFolder, run_of
from vision_attn.runs.lock import JOINED_RUN, check_not_started
from vision_attn.training.auto_settings import recorded_auto_settings
from vision_attn.training.both_stages import POOLING, without_earlier_stage
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
from vision_attn.training.deadline import Deadline
from vision_attn.training.image_tables import ImageRows, write_table
from vision_attn.training.overrides import Pair, nested
from vision_attn.training.processes.group import ProcessGroup
from vision_attn.training.stages import TUNING, against_probe
from vision_attn.training.starting_weights import (
    StartingWeights,
    inherited_weights,
    starting_weights,
)

FINE_TUNING = {"model": {"stem_lr_scale": 0.1, "optimizer": {"init_args": {"lr": 0.001}}}}
"""Defaults for weights that were learned elsewhere; config files override them."""
NO_WEIGHTS = ("false", "none", "null")
"""Values of `--pretrained` for random weights, in lower case."""
STAGE_SETTINGS = ("pooling", "stride", "min_grid", "removed_strides")
"""Settings that say which stages of the backbone serve, and how."""
MAY_CHANGE = ("data.batch_size",)
"""Settings that may change when a run resumes: another machine may have less memory."""


@dataclass(frozen=True)
class FitRequest:
    """The arguments of `fit`, from the command line or from Python.

    Attributes:
        data: a folder, a table, a named data set, or rows in memory; None if a file names it.
        configs: configuration files or names of packaged ones, merged from left to right.
        options: settings by dotted names, in the order in which they were given.
        run_dir: the run folder; None names it by date, time and data.
        init_from: a run or weights file to start from.
        folds: how many models score the images out of fold; None trains one model.
        resume: whether to resume the run in `run_dir`.
        trust: dotted paths of the user's own classes that files may name.
        report: whether to write `report.html` at the end.
        overlays: whether TensorBoard shows attention on some validation images after each epoch.
        max_minutes: the training is complete after this many minutes; infinite without a limit.
        started: when the command started, by `time.monotonic`; None is when `fit` is called.
        command: the command line or the Python call, for `environment.json`.
    """

    data: str | ImageRows | None = None
    configs: Sequence[str] = ()
    options: Sequence[Pair] = ()
    run_dir: Path | None = None
    init_from: Path | None = None
    folds: int | None = None
    resume: bool = False
    trust: Sequence[str] = ()
    report: bool = True
    overlays: bool = True
    max_minutes: float = math.inf
    started: float | None = None
    command: Sequence[str] = ()

    @property
    def option_names(self) -> set[str]:
        """The settings that the user gave."""
        return {name for name, _ in self.options}


@dataclass(frozen=True)
class Attempt:
    """One training with a complete configuration.

    Attributes:
        request: the arguments of `fit`.
        config: all settings.
        folder: the run folder.
        checkpoint: the checkpoint to resume from; None for a new training.
        weights: the pretrained weights that a new training starts from.
        deadline: when it has to be complete.
        open_stages: whether nobody said which stages of the backbone serve, so that the probe may
            add the stage before the last.
        group: the processes that a launcher started; None if there is no launcher.
    """

    request: FitRequest
    config: Config
    folder: RunFolder
    checkpoint: Path | None = None
    weights: StartingWeights = field(default_factory=StartingWeights)
    deadline: Deadline = field(default_factory=Deadline)
    open_stages: bool = False
    group: ProcessGroup | None = None

    def wait_for_all(self) -> None:
        """Wait until all processes that a launcher started are here."""
        if self.group is not None:
            self.group.barrier()


def new_run(request: FitRequest) -> Attempt:
    """Merge the configuration of a new run: defaults < files < options.

    Raises:
        UserError: no data is given, or the run folder already contains a run.
    """
    request = with_packaged_config(request)
    files = [read_config(name, request.trust) for name in request.configs]
    options = with_full_names(nested(request.options))
    contents = list(files)
    if request.init_from:
        contents.insert(0, settings_of(request.init_from, request.trust))
    if isinstance(request.data, str):
        contents.append({"data": {"source": resolve_data(request.data)}})
    contents.append(options)
    config = reduce(merge, contents, read_config("defaults"))
    if request.data is None and "class_path" not in config.get("data", {}).get("source", {}):
        typed = [name for name, _ in request.options if did_you_mean(name, ["data"])]
        if typed:
            raise UserError(f"there is no option --{typed[0]}. Did you mean --data?")
        raise UserError("name the images: --data DIR, or --data shapes to try it out.")
    if str((config.get("trainer") or {}).get("max_epochs")) == "0":
        raise UserError("--epochs 0 trains nothing: set at least 1, or leave it out.")
    # Lightning starts further processes with the same command; they join the first one's run.
    path = os.environ.get(JOINED_RUN) or request.run_dir or default_run_dir(config)
    folder = RunFolder(Path(path))
    if JOINED_RUN not in os.environ:
        check_not_started(folder)
    if request.data is not None and not isinstance(request.data, str):
        contents.append(table_in_run(request.data, folder))
        config = merge(config, contents[-1])
    pretrained = given_pretrained(config, [*files, options])
    weights = (
        inherited_weights(request.init_from)
        if request.init_from
        else starting_weights(config, pretrained)
    )
    base = read_config("defaults")
    if request.init_from or weights.record or pretrained:
        staged = not (request.init_from or against_probe(config.get("model") or {}))
        base = merge(base, TUNING if staged else FINE_TUNING)
    config = reduce(merge, [*contents, weights.settings], base)
    open_stages = leaves_stages_open(contents)
    return Attempt(request, config, folder, weights=weights, open_stages=open_stages)


def leaves_stages_open(contents: Sequence[Config]) -> bool:
    """Whether no file and no option says which stages of the backbone serve, and how.

    >>> leaves_stages_open([{"data": {}}, {"model": {"stride": None}}])
    True
    >>> leaves_stages_open([{"data": {}}, {"model": {"stride": 16}}])
    False
    """
    models = [content.get("model") or {} for content in contents]
    return not any(model.get(name) is not None for model in models for name in STAGE_SETTINGS)


def table_in_run(rows: ImageRows, folder: RunFolder) -> Config:
    """Write images that were given in memory as a table in the run folder; its settings."""
    root = write_table(rows, folder.table)
    source = resolve_data(str(folder.table))
    source["init_args"]["root"] = str(root)
    return {"data": {"source": source}}


def with_packaged_config(request: FitRequest) -> FitRequest:
    """The request with the packaged configuration of a named data set, if no other is given."""
    named = isinstance(request.data, str) and request.data in packaged_configs()
    if request.configs or request.init_from or not named:
        return request
    say(f"settings  the packaged ones for {request.data} (another file: --config FILE)")
    return replace(request, configs=[cast(str, request.data)])


def given_pretrained(config: Config, contents: Sequence[Config]) -> bool | str | None:
    """Which pretrained weights are asked for; None if nothing is said about them.

    Weights of a backbone that another one replaces are dropped, but the wish for none is kept.

    Args:
        config: the merged settings.
        contents: the settings of files and of the user, from which they were merged.

    >>> given_pretrained({"model": {"pretrained": "true"}}, [])
    True
    >>> given_pretrained({"model": {"backbone": "b"}}, [{"model": {"pretrained": False}}])
    False
    >>> given_pretrained({"model": {"backbone": "b"}}, [{"model": {"pretrained": "weights.pt"}}])
    """
    value = (config.get("model") or {}).get("pretrained")
    if value is None:
        given = [(content.get("model") or {}).get("pretrained") for content in contents]
        said = [value for value in given if value is not None]
        return False if said and str(said[-1]).lower() in NO_WEIGHTS else None
    return {"true": True, **dict.fromkeys(NO_WEIGHTS, False)}.get(str(value).lower(), str(value))


def settings_of(source: Path, trusted: Sequence[str]) -> Config:
    """The settings of the run to initialize from: its backbone, pooling and image size.

    Raises:
        UserError: there is no such run or file, or it names a class that is not trusted.
    """
    if not source.exists():
        raise UserError(f"--init_from: there is no run or weights file {source}.")
    folder = run_of(source)
    if folder is None:
        return {}
    settings = folder.load_spec().settings()
    check_trusted(settings, trusted, folder.spec_file)
    folder.load_model(trusted)  # checks the size limit before untrusted settings are used
    return with_full_names(settings)


def default_run_dir(config: Config) -> Path:
    """The default run folder: `runs/<date-time>-<data>`."""
    source = config.get("data", {}).get("source") or {}
    arguments = source.get("init_args") or {}
    path = arguments.get("table") or arguments.get("root")
    name = "table"
    if "class_path" in source:
        name = short_path(ImageSource, source["class_path"]).rpartition(".")[2]
    if path:
        name = Path(path).name.removesuffix(".csv")
    return Path("runs") / f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}-{name}"


def resumed_run(request: FitRequest) -> Attempt:
    """Resume a run with its own configuration; only `trainer` settings and batch size may change.

    Raises:
        UserError: there is nothing to resume from, or another setting is given.
    """
    folder = RunFolder((request.run_dir or Path("runs/latest")).resolve())
    restarted = stopped_in_probe(folder, request.trust)
    if not folder.config.is_file() or not (folder.last.is_file() or restarted):
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
            f"--resume continues the run with its own settings, so --{other[0]} cannot change; "
            f"for a new run from its weights: --init_from {folder.path} --run_dir NEW."
        )
    config = read_config_file(folder.config, request.trust)
    # Runs from before there were groups were split without them, and stay so.
    config["data"].setdefault("group", "none")
    config = merge(config, nested(request.options))
    if not restarted:
        return Attempt(request, config, folder, folder.last)
    say("resume    the run was stopped in its first stage, which starts again")
    open_stages = POOLING in recorded_auto_settings(folder.config)
    if open_stages:
        config = without_earlier_stage(config)
    return Attempt(request, config, folder, open_stages=open_stages)


def stopped_in_probe(folder: RunFolder, trusted: Sequence[str]) -> bool:
    """Whether a run was stopped in its first stage, which leaves no checkpoint but its settings.

    The same seed gives the same weights, so the stage starts again.
    """
    if folder.last.exists() or folder.metrics.exists() or not folder.config.is_file():
        return False
    config = read_config_file(folder.config, trusted)
    return "tune" in config and bool(config["model"].get("pretrained"))
