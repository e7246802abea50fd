"""LightningCLI with this project's defaults: builds task, data and trainer from a configuration."""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import lightning.pytorch as pl
import yaml
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from vision_attn.core.errors import UserError, did_you_mean, one_line
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.runs.folder import RunFolder
from vision_attn.training.callbacks.checkpoint_io import AtomicCheckpointIO
from vision_attn.training.callbacks.compile_backbone import CompileBackbone
from vision_attn.training.callbacks.ema import EMA
from vision_attn.training.callbacks.epoch_seed import SeedEveryEpoch
from vision_attn.training.callbacks.progress import EpochLines, ScoringBar, TrainingBar
from vision_attn.training.callbacks.results_csv import ResultsCsv
from vision_attn.training.callbacks.throughput import Throughput
from vision_attn.training.config import Config, as_list, merge, with_short_names
from vision_attn.training.duration import (
    auto_epochs,
    auto_patience,
    auto_tuning_epochs,
    describe_budget,
    is_accelerated,
    training_flops,
)
from vision_attn.training.failures import is_out_of_memory
from vision_attn.training.lightning_messages import silence_lightning
from vision_attn.training.log_folder import with_log_folder
from vision_attn.training.precision import precision_for
from vision_attn.training.processes.launcher import Launch, launched
from vision_attn.training.stages import SINGLE_STAGE, Stages, Tune, plan_stages, trains_on_all
from vision_attn.training.task import ClassificationTask

PATIENCE_HELP = (
    "early stopping after this many validations without a better score; 0 turns it off; default: "
    "a third of the epochs if their number is chosen automatically, else off"
)
TUNE_HELP = (
    "whether all layers learn after pooling and head were fitted on features of a pretrained "
    "backbone: auto does so if enough validation images can tell whether it helps"
)
CALIBRATE_HELP = "divide the logits by a temperature that is fitted on held-out images"
EMA_HELP = "keep and score an exponential moving average of the weights with this decay, e.g. 0.99"
COMPILE_HELP = "compile the backbone with torch.compile where that is possible"


class Parser(LightningArgumentParser):
    """Lightning's argument parser with one-line errors and suggestions."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Raise a parse error as a `UserError`."""
        raise UserError(parse_error(message, list(self._option_string_actions)))


def parse_error(message: str, options: Iterable[str]) -> str:
    r"""An error of jsonargparse in one line, with a suggestion for a misspelled option.

    >>> parse_error("Group 'model' does not accept option 'poling'", ["--model.pooling"])
    "there is no option --model.poling. Did you mean '--model.pooling'?"
    >>> parse_error("Parser key \"lr\": ...Expected a <class 'float'> Given value: big", [])
    "--lr must be of type float, not 'big'."
    """
    in_group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message)
    at_top = re.search(r"^(?:error: )?Option '([\w.]+)' is not accepted", message)
    problem = re.search(r"Problem with given class_path '([\w.]+)':\s+(.+)", message)
    value = re.search(r"Parser key \"([\w.]+)\":.*Given value: (\S+)\s*$", message, re.DOTALL)
    kinds = re.findall(r"Expected a <class '([a-z]+)'>", message)
    if value and kinds:
        return f"--{value[1]} must be of type {' or '.join(kinds)}, not '{value[2]}'."
    if problem:
        return f"{problem[1]}: {one_line(ValueError(problem[2]))}"
    if in_group or at_top:
        name = f"{in_group[1]}.{in_group[2]}" if in_group else at_top[1]  # type: ignore[index]
        return f"there is no option --{name}.{did_you_mean(f'--{name}', options)}"
    return one_line(ValueError(message), most=300)


@dataclass(frozen=True)
class Duration:
    """The number of epochs and the early-stopping patience of a training.

    Attributes:
        epochs: its number of epochs; None if the user set another limit.
        patience: validations without a better score after which it stops; None never stops early.
        note: a line on the cost of an automatic number of epochs; else empty.
    """

    epochs: int | None
    patience: int | None
    note: str = ""


OUT_OF_BOUNDS = "is not in bounds"
"""Part of Lightning's message for a seed that numpy refuses."""


class TrainingCLI(LightningCLI):
    """Builds task, data and trainer from one configuration.

    The task is one fixed class, so no checkpoint and no configuration can name another. It is
    built without subcommands (`run=False`): those of Lightning would let the hyper-parameters in a
    checkpoint override the user's settings.

    Args:
        config: all settings, classes by their paths.
        folder: the run folder; None to score a model without writing files.
    """

    def __init__(self, config: Config, folder: RunFolder | None) -> None:
        self.folder = folder
        if folder is not None:
            config = with_log_folder(config, folder)
        silence_lightning()
        try:
            super().__init__(
                ClassificationTask,
                ImageDataModule,
                save_config_callback=None,
                parser_class=Parser,
                parser_kwargs={"allow_abbrev": False},
                seed_everything_default=0,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                args=config,
                run=False,
            )
        except MisconfigurationException as error:
            raise UserError(parse_error(str(error), [])) from error
        except ValueError as error:
            if OUT_OF_BOUNDS not in str(error):
                raise
            raise UserError(f"--seed_everything must be from 0 to {2**32 - 1:,}.") from error

    def instantiate_classes(self) -> None:
        """Build trainer, task and data.

        Raises:
            UserError: a setting has a value that its class refuses, or needs a library that is
                missing; which kind of error that is depends on the class.
        """
        try:
            super().instantiate_classes()
        except (UserError, OSError, MemoryError, MisconfigurationException):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise UserError(f"the settings are refused: {parse_error(str(error), [])}") from error

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the task's arguments to the data, and add the settings that belong to no section."""
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
        parser.link_arguments("data.image_size", "model.image_size", apply_on="instantiate")
        parser.add_argument("--calibrate", type=bool, default=True, help=CALIBRATE_HELP)
        parser.add_argument("--tune", type=Tune, default="auto", help=TUNE_HELP)
        parser.add_argument("--patience", type=int | None, help=PATIENCE_HELP)
        parser.add_argument("--ema", type=float | None, help=EMA_HELP)
        parser.add_argument("--compile", type=bool, default=False, help=COMPILE_HELP)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The trainer, with our callbacks and the automatically chosen settings."""
        if trains_on_all(self.stages, self.datamodule):
            self.datamodule.join_validation()
        given = self.config_init["trainer"]
        on_screen = sys.stdout.isatty() and given.enable_progress_bar is not False
        chosen: dict[str, Any] = {
            "callbacks": [
                SeedEveryEpoch(),  # before others draw random numbers
                *as_list(given.callbacks),
                *self.own_callbacks(on_screen),
            ],
            "plugins": [AtomicCheckpointIO(), *as_list(given.plugins)],
            "enable_model_summary": bool(given.enable_model_summary),
            "enable_progress_bar": on_screen,
            "precision": given.precision
            or precision_for(self.model.model, str(given.accelerator), self.stages.tune),
            "logger": self.loggers() if given.logger is None else given.logger,
            "default_root_dir": str(self.folder.path) if self.folder else None,
            "use_distributed_sampler": False,  # the data module shares images among processes
        }
        if self.launch is not None:
            chosen |= self.launch.trainer_settings()
            chosen["plugins"].append(self.launch.environment())
        if self.folder is None:
            chosen["enable_checkpointing"] = False
        elif self.duration.epochs is not None:
            chosen["max_epochs"] = self.duration.epochs
        return super().instantiate_trainer(**chosen, **kwargs)

    @cached_property
    def launch(self) -> Launch | None:
        """What a launcher started; None if Lightning starts further processes itself."""
        return launched()

    def own_callbacks(self, on_screen: bool) -> list[Callback]:
        """Our callbacks: those of every training, and those that are turned on by a setting."""
        throughput = Throughput()
        monitored = self.datamodule.monitored
        callbacks: list[Callback] = [throughput]
        if on_screen:
            callbacks += [EpochLines(throughput, monitored, True), TrainingBar(throughput)]
        else:
            callbacks += [EpochLines(throughput, monitored), ScoringBar()]
        if self.folder is not None:
            checkpoints = self.folder.checkpoints
            callbacks.append(
                ModelCheckpoint(checkpoints, "last", save_top_k=1, enable_version_counter=False)
            )
            callbacks.append(ResultsCsv(self.folder.results))
            if self.duration.patience:
                callbacks.append(
                    EarlyStopping(
                        monitored, patience=self.duration.patience, mode="max", strict=False
                    )
                )
        if self.config_init["ema"] is not None:
            callbacks.append(EMA(self.config_init["ema"]))
        if self.config_init["compile"]:
            callbacks.append(
                CompileBackbone(self.datamodule.image_size, self.datamodule.batch_size)
            )
        return callbacks

    @cached_property
    def stages(self) -> Stages:
        """The stages of a new training; a model that is only scored, or resumed, has no probe."""
        if self.folder is None:
            return SINGLE_STAGE
        config = self.given_config()
        accelerated = is_accelerated(str(config["trainer"]["accelerator"]))
        return plan_stages(config["tune"], self.model, self.datamodule, config, accelerated)

    @cached_property
    def duration(self) -> Duration:
        """Epochs and early-stopping patience; chosen automatically if the user set no limit."""
        given, patience = self.config_init["trainer"], self.config_init["patience"]
        if not self.stages.tune:
            return Duration(0, None)
        if given.max_epochs is not None or given.max_steps != -1:
            return Duration(given.max_epochs, patience)
        accelerated = is_accelerated(str(given.accelerator))
        flops = training_flops(self.model.model, self.datamodule.image_size)
        images = len(self.datamodule.store("train"))
        if self.stages.probe:
            return Duration(auto_tuning_epochs(images, flops, accelerated), patience)
        epochs = auto_epochs(images, flops, accelerated)
        note = "" if accelerated else f"{describe_budget(images, flops, epochs)} (--epochs)"
        return Duration(epochs, auto_patience(epochs) if patience is None else patience, note)

    def summary_lines(self) -> list[str]:
        """Summary lines on the duration, early stopping and layer-wise learning rates."""
        lines = [line for line in (self.stages.note, self.duration.note) if line]
        if self.duration.patience:
            score = self.datamodule.monitored.removeprefix("val/").replace("_", " ")
            lines += [
                f"stops after {self.duration.patience} epochs without a better {score} "
                "(--patience 0 never does)"
            ]
        if self.model.stem_lr_scale != 1 and self.stages.tune:
            lines += [
                f"the first layers learn at {self.model.stem_lr_scale:g} times the learning rate "
                "(--model.stem_lr_scale 1)"
            ]
        return lines

    def loggers(self) -> list[Logger] | bool:
        """CSV and TensorBoard logs in the run folder."""
        if self.folder is None:
            return False
        logs = self.folder.logs
        return [CSVLogger(logs, name="csv"), TensorBoardLogger(logs, name="tensorboard")]

    def given_config(self) -> Config:
        """The configuration before automatic choices; None for settings that are left open."""
        config = yaml.safe_load(self.parser.dump(without_enums(self.config), skip_none=False))
        config.pop("config", None)
        return config

    def resolved_config(self) -> Config:
        """The configuration for `config.yaml`, including all automatically chosen values."""
        epochs = self.trainer.max_epochs or None  # none if there is a probe alone
        trainer = {"max_epochs": epochs, "precision": self.trainer.precision}
        chosen = {
            "model": self.model.resolved_settings(),
            "data": self.datamodule.resolved_settings(),
            "trainer": trainer,
            "patience": self.duration.patience,
        }
        config = self.given_config()
        config["model"]["backbone"] = chosen["model"]["backbone"]  # so that merge keeps the rest
        return with_short_names(merge(config, chosen))


def without_enums(settings: Namespace) -> Namespace:
    """Settings with texts for the members of enumerations, which jsonargparse cannot write.

    >>> from lightning.pytorch.callbacks.timer import Interval
    >>> without_enums(Namespace(callbacks=[Namespace(interval=Interval.step)]))
    Namespace(callbacks=[Namespace(interval='step')])
    """
    return Namespace(**{key: without_enum(value) for key, value in vars(settings).items()})


def without_enum(value: object) -> object:
    """A setting with texts for the members of enumerations."""
    if isinstance(value, Namespace):
        return without_enums(value)
    if isinstance(value, list):
        return [without_enum(inner) for inner in value]
    return value.value if isinstance(value, Enum) else value


def print_all_settings() -> None:
    """Print every setting of model, data and trainer, as LightningCLI documents them."""
    silence_lightning()
    parser = Parser()
    parser.add_lightning_class_args(pl.Trainer, "trainer")
    parser.add_lightning_class_args(ClassificationTask, "model")
    parser.add_lightning_class_args(ImageDataModule, "data")
    parser.print_help()
