"""LightningCLI with this project's defaults: configuration in, model, data and trainer out."""

import logging
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from vision_attn.core.errors import UserError, did_you_mean
from vision_attn.data.datamodule import ImageData
from vision_attn.runs.folder import RunFolder
from vision_attn.training.callbacks.checkpoint_io import WholeCheckpoints
from vision_attn.training.callbacks.compile_backbone import Compiling
from vision_attn.training.callbacks.ema import Averaging
from vision_attn.training.callbacks.epoch_seed import EpochSeeds
from vision_attn.training.callbacks.progress import EpochLines, ImagesBar, Pace
from vision_attn.training.config import Config, apply_words, with_short_names
from vision_attn.training.duration import (
    described,
    is_accelerated,
    suited_epochs,
    suited_patience,
    training_work,
)
from vision_attn.training.task import ClassificationTask

PATIENCE_HELP = (
    "end after so many validations without a better score; 0 never; by itself a third of the "
    "epochs where these choose themselves, too"
)

EMA_HELP = (
    "keep and score an average of the weights, in which those of the step before count so much "
    "less, such as 0.99; without it the weights themselves"
)

COMPILE_HELP = "let torch compile the backbone, where it can; whether that is faster, try"


class Parser(LightningArgumentParser):
    """The parser, telling an error in one line with the nearest option."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Raise what was wrong as a `UserError`."""
        raise UserError(brief(message, list(self._option_string_actions)))


def brief(message: str, options: Sequence[str]) -> str:
    """An error of jsonargparse in a line or two, with the nearest option for a misspelt one.

    >>> brief("unrecognized arguments: --model.poling average", ["--model.pooling"])
    "there is no option --model.poling. Did you mean '--model.pooling'?"
    """
    unknown = re.search(r"[Uu]nrecognized arguments: (--[^\s=]+)", message) or re.search(
        r"[Kk]ey '([^']+)' is not expected", message
    )
    if unknown:
        name = "--" + unknown[1].removeprefix("--")
        return f"there is no option {name}.{did_you_mean(name, options)}"
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(lines)[:300]


class TrainingCLI(LightningCLI):
    """Builds task, data and trainer from one configuration; the verbs then use them.

    The task is one fixed class, so that no checkpoint and no configuration can name another. It
    is built without subcommands (`run=False`): Lightning's own would lay a checkpoint's
    hyper-parameters over what the user typed.
    """

    def __init__(self, config: Config, words: Sequence[str], folder: RunFolder | None) -> None:
        self.folder = folder
        config, words = apply_words(config, words)
        arguments = ["--config", yaml.safe_dump(config), *words]
        quiet()
        try:
            super().__init__(
                ClassificationTask,
                ImageData,
                save_config_callback=None,
                parser_class=Parser,
                parser_kwargs={"allow_abbrev": False},  # no misspelt option passes for another
                seed_everything_default=0,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                args=arguments,
                run=False,
            )
        except MisconfigurationException as error:
            raise UserError(brief(str(error), [])) from error

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What the task takes from the data."""
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
        parser.link_arguments("data.image_size", "model.image_size", apply_on="instantiate")
        parser.add_argument("--patience", type=int | None, help=PATIENCE_HELP)
        parser.add_argument("--ema", type=float | None, help=EMA_HELP)
        parser.add_argument("--compile", type=bool, default=False, help=COMPILE_HELP)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The trainer, with what the user left open chosen and printed."""
        given = self.config_init["trainer"]
        self.patience = self.config_init["patience"]
        self.length = ""
        pace = Pace()
        on_screen = sys.stdout.isatty() and given.enable_progress_bar is not False
        bar = ImagesBar(pace) if on_screen else EpochLines(pace)
        chosen: dict[str, Any] = {
            "callbacks": [EpochSeeds(), *as_list(given.callbacks), pace, bar, *self.keepers()],
            "plugins": [WholeCheckpoints(), *as_list(given.plugins)],
            "enable_model_summary": bool(given.enable_model_summary),
            "enable_progress_bar": on_screen,
            "precision": given.precision or suited_precision(str(given.accelerator)),
            "logger": self.loggers() if given.logger is None else given.logger,
        }
        if self.config_init["ema"] is not None:
            chosen["callbacks"].append(Averaging(self.config_init["ema"]))
        if self.config_init["compile"]:
            images = self.datamodule
            chosen["callbacks"].append(Compiling(images.image_size, images.batch_size))
        if self.folder is None:
            chosen |= {"enable_checkpointing": False}
        elif given.max_epochs is None and given.max_steps == -1:
            chosen["max_epochs"] = self.suited_epochs(str(given.accelerator))
            if self.patience is None:
                self.patience = suited_patience(chosen["max_epochs"])
        if self.folder and self.patience:
            monitored = self.datamodule.monitored
            chosen["callbacks"].append(
                EarlyStopping(monitored, patience=self.patience, mode="max", strict=False)
            )
        root = str(self.folder.path) if self.folder else None
        return super().instantiate_trainer(default_root_dir=root, **chosen, **kwargs)

    def suited_epochs(self, accelerator: str) -> int:
        """How long to train where nobody says."""
        work = training_work(self.model.model, self.datamodule.image_size)
        images = len(self.datamodule.store("train"))
        accelerated = is_accelerated(accelerator)
        epochs = suited_epochs(images, work, accelerated)
        if not accelerated:
            self.length = f"{described(images, work, epochs)} (--trainer.max_epochs)"
        return epochs

    def told(self) -> list[str]:
        """Lines on how the training may end and how fast its parts learn, where that matters."""
        lines = [self.length] if self.length else []
        if self.patience:
            score = self.datamodule.monitored.removeprefix("val/").replace("_", " ")
            lines += [f"ends after {self.patience} epochs without a better {score} (--patience 0)"]
        if self.model.stem_rate != 1:
            rate = f"{self.model.stem_rate:g} times as fast as the last ones"
            lines += [f"the first layers learn {rate} (--model.stem_rate 1)"]
        return lines

    def keepers(self) -> list[Callback]:
        """Callbacks that keep the best and the last checkpoint, where there is a run folder."""
        if self.folder is None:
            return []
        place = self.folder.checkpoints
        best = ModelCheckpoint(
            place,
            "best",
            monitor=self.datamodule.monitored,
            mode="max",
            enable_version_counter=False,
        )
        last = ModelCheckpoint(place, "last", save_top_k=1, enable_version_counter=False)
        unvalidated = self.config_init["trainer"].limit_val_batches == 0  # nothing tells the best
        return [last] if unvalidated else [best, last]

    def loggers(self) -> list[Any] | bool:
        """CSV and TensorBoard logs in the run folder."""
        if self.folder is None:
            return False
        logs = self.folder.path / "logs"
        return [CSVLogger(logs, name="csv"), TensorBoardLogger(logs, name="tensorboard")]

    def given(self) -> Config:
        """The configuration as it was put together; None where something chooses itself."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        config.pop("config", None)
        return config

    def resolved(self) -> Config:
        """The configuration with every automatic choice in its place, for `config.yaml`."""
        config = self.given()
        network = self.model.model.backbone
        config["model"]["backbone"] = network.name
        config["model"]["backbone_options"] = network.options
        config["model"]["unstrided"] = network.unstrided
        config["model"]["stride"] = network.stride
        config["model"]["stem_rate"] = self.model.stem_rate
        config["data"]["image_size"] = self.datamodule.image_size
        config["data"]["batch_size"] = self.datamodule.batch_size
        config["data"]["balance"] = self.datamodule.balance
        config["patience"] = self.patience
        config["trainer"]["max_epochs"] = self.trainer.max_epochs
        config["trainer"]["precision"] = self.trainer.precision
        return with_short_names(config)


def print_all_settings() -> None:
    """Every setting of model, data and trainer, as LightningCLI documents them."""
    quiet()
    parser = Parser()
    parser.add_lightning_class_args(pl.Trainer, "trainer")
    parser.add_lightning_class_args(ClassificationTask, "model")
    parser.add_lightning_class_args(ImageData, "data")
    parser.print_help()


def as_list(value: Any) -> list[Any]:
    """None, one thing or a list of things, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def suited_precision(accelerator: str) -> str:
    """bf16 where the hardware multiplies it, else float32."""
    if torch.cuda.is_available() and accelerator != "cpu":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16-mixed" if able else "32-true"
    able = torch.cpu.get_capabilities()
    return "bf16-mixed" if able.get("avx512_bf16") or able.get("amx_bf16") else "32-true"


def quiet() -> None:
    """Keep Lightning's notes on hardware, tips and its own products off the screen."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (
        ".*LightningCLI's args parameter is intended.*",  # we do call it from within Python
        ".*does not have many workers.*",  # images in memory need none
        ".*The number of training batches .* is smaller than the logging interval.*",
        ".*The dirpath has changed.*",  # a run folder was moved: the next best is kept
        ".*Encountered `nan` values.*",  # StopDiverged tells it, and ends the training
        ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run's own
        ".*It is recommended to use `self.log.*sync_dist.*",  # torchmetrics has gathered already
        "(?s).*Grad strides do not match bucket view.*",  # of 1x1 kernels, in either layout alike
        ".*LeafSpec.*",  # torch 2.15 deprecates what Lightning 2.6.6 still calls
        # jsonargparse 4 deprecates what Lightning 2.6.6 still calls
        r"(?s).*(will be removed in v5|disable the warnings set\s+JSONARGPARSE)",
    ):
        warnings.filterwarnings("ignore", message=message)
