"""`vision-attn fit`: train a model, test it, and leave everything in one run folder."""

import argparse
import datetime
import math
import os
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from vision_attn.cli.arguments import Options
from vision_attn.cli.report import report_at_end
from vision_attn.core.errors import UserError
from vision_attn.runs.lock import JOINED_RUN, alone, refuse_begun
from vision_attn.training.failures import (
    Batches,
    LackOfMemory,
    misfits_told,
    mishaps_told,
    release_memory,
)
from vision_attn.training.provenance import record, record_environment, record_splits
from vision_attn.training.summary import tell

HELP = """Train an attention-pooled classifier, test it, and write a run folder.

  vision-attn fit --data shapes                    a synthetic set, made on the fly
  vision-attn fit --data DIR                       DIR/train/CLASS/*.jpg, or DIR/CLASS/*.jpg
  vision-attn fit --data table.csv                 columns path, label and perhaps split
  vision-attn fit --config cifar10                 a packaged configuration
  vision-attn fit --data DIR --init_from RUN       fine-tune
  vision-attn fit --run_dir RUN --resume           go on where a run stopped
"""

EPILOG = """settings (each can stand in a config file, too):
  --model.backbone NAME            any CNN of timm (by itself resnet18, or a light
                                   network from scratch without a GPU)
  --model.pretrained true|PATH     timm's own weights, from its hub or from a file or folder
  --model.pooling NAME             {poolings},
                                   or the dotted path of your own
  --model.pooling.heads 8          an argument of the pooling
  --model.freeze_epochs N          first epochs in which only pooling and head learn
  --model.min_grid N               places a side of the feature grid, at least
  --model.optimizer NAME           any optimiser of torch; --model.optimizer.lr 0.01
  --data.image_size N              pixels a side
  --data.batch_size N              images a step
  --data.balance true|false        draw every class equally often (where they differ fivefold)
  --data.source.root DIR           the folder that a table's paths start from (the table's own)
  --data.flip false                for images that must not be mirrored
  --model.stem_rate X              share of the learning rate for first layers (fine-tuning: 0.1)
  --data.light X                   brightness and contrast of training images vary by this share
  --data.zoom X                    training images are enlarged by up to this factor (1.2)
  --data.augmentations A,B         rand_augment, trivial_augment, random_erasing, mixup, cutmix
  --data.cache DIR                 keep decoded images there, for later trainings
  --ema X                          keep and score an average of the weights, such as 0.99
  --patience N                     end after so many validations without a better one; 0 never
  --trainer.max_epochs N           and every other argument of Lightning's Trainer
  --seed_everything N              another seed

All of them, from LightningCLI: vision-attn fit --help_all
"""


TOLD = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "calibration_error": "calibration error",
    "loss": "loss",
}
"""The scores of the closing lines, and what they are called there."""
SWITCHES = {
    "report": "write report.html at the end, which takes about two minutes at most",
    "overlays": "show attention on some validation images in TensorBoard, each epoch",
}
FINE_TUNING = {"model": {"stem_rate": 0.1, "optimizer": {"init_args": {"lr": 0.001}}}}
"""What suits weights that were learnt elsewhere, under any config file."""
MAY_CHANGE = ("data.batch_size",)
"""Of a run that goes on: on another machine its batches may not fit."""
NO_POOLING = ("__init__", "base")


def run(words: list[str]) -> int:
    """Train, or go on training."""
    options, settings = parser().parse_known_args(words)
    options.words = ["fit", *words]
    if options.help_all:
        from vision_attn.training.lightning_cli import print_all_settings

        print_all_settings()
        return 0
    from vision_attn.training.config import read_config

    if options.resume:
        return resume(options, settings)
    config = read_config("defaults")
    return start(options, settings, config)


def parser() -> argparse.ArgumentParser:
    """The options that are not settings of model, data or trainer."""
    folder = Path(__file__).parents[1] / "pooling"
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem not in NO_POOLING)
    epilog = EPILOG.format(poolings=f",\n{'':35}".join(names))
    found = Options("fit", HELP, epilog=epilog, usage="vision-attn fit --data DIR_OR_NAME ...")
    add = found.add_argument
    add("--data", metavar="DIR_OR_NAME", help="a folder or table, or shapes, cifar10, cifar100")
    add("--config", action="append", default=[], metavar="FILE_OR_NAME", help="may be repeated")
    add("--run_dir", metavar="DIR", help="where everything goes (runs/<date-time>-<data>)")
    add("--init_from", metavar="RUN_OR_WEIGHTS", help="start from another run or a weights file")
    add("--resume", action="store_true", help="go on with the run in --run_dir (or runs/latest)")
    add(
        "--trust",
        action="append",
        default=[],
        metavar="CLASS",
        help="own code a stored run or a config file may use",
    )
    for name, what in SWITCHES.items():
        add(f"--{name}", choices=("true", "false"), default="true", help=f"{what} (%(default)s)")
    add("--help_all", action="store_true", help="every setting there is")
    return found


def start(options: argparse.Namespace, settings: list[str], defaults: dict[str, Any]) -> int:
    """A new run: put the configuration together, build, train."""
    from vision_attn.training.config import data_source, merge, packaged_configs, read_config

    config = defaults
    if not options.config and not options.init_from and options.data in packaged_configs():
        options.config = [options.data]
        print(f"settings  the packaged ones for {options.data} (another file: --config FILE)")
    files = [read_config(name, options.trust) for name in options.config]
    if options.init_from or wants_pretrained(files, settings):
        config = merge(config, FINE_TUNING)
    if options.init_from:
        config = merge(config, architecture_of(Path(options.init_from), options.trust))
    for content in files:
        config = merge(config, content)
    if options.data:
        config = merge(config, {"data": {"source": data_source(options.data)}})
    if "source" not in config.get("data", {}):
        raise UserError("name the images: --data DIR, or --data shapes to try it out.")
    from vision_attn.runs.folder import RunFolder

    # Lightning starts further processes with the same words; they join the first one's run.
    place = os.environ.get(JOINED_RUN) or options.run_dir or default_run_dir(config)
    folder = RunFolder(Path(place))
    if JOINED_RUN not in os.environ:
        refuse_begun(folder)
    return train(config, settings, folder, options)


def wants_pretrained(files: list[dict[str, Any]], settings: list[str]) -> bool:
    """Whether the backbone's weights come from elsewhere; what is typed goes over what is written.

    >>> wants_pretrained([{"model": {"pretrained": True}}], [])
    True
    >>> wants_pretrained([{"model": {"pretrained": True}}], ["--model.pretrained=false"])
    False
    """
    from vision_attn.training.config import split_words

    written = [content.get("model", {}).get("pretrained", False) for content in files]
    words = split_words(settings)
    typed = [value for key, value in pairwise(words) if key == "--model.pretrained"]
    return str([False, *written, *typed][-1]).lower() not in ("false", "none", "null")


def architecture_of(source: Path, trusted: list[str]) -> dict[str, Any]:
    """What a run to start from sets: its backbone, pooling and image size."""
    from vision_attn.runs.folder import RunFolder
    from vision_attn.training.config import check_trusted, with_full_names

    if not source.exists():
        raise UserError(f"--init_from: there is no run or weights file {source}.")
    if not source.is_dir():
        return {}
    folder = RunFolder(source)
    settings = folder.load_card().settings()
    check_trusted(settings, trusted, folder.card)
    folder.load_model(trusted)  # once within its bounds, before the words of a stranger are built
    return with_full_names(settings)


def default_run_dir(config: dict[str, Any]) -> Path:
    """`runs/<date-time>-<data>`."""
    from vision_attn.core.registry import short_path
    from vision_attn.data.sources.base import ImageSource

    source = config["data"]["source"]
    arguments = source.get("init_args") or {}
    place = arguments.get("table") or arguments.get("root")
    short = short_path(ImageSource, source["class_path"]).rpartition(".")[2]
    name = Path(place).name.removesuffix(".csv") if place else short
    return Path("runs") / f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}-{name}"


def resume(options: argparse.Namespace, settings: list[str]) -> int:
    """Go on with a run as it was; only the trainer's settings and the batch size may change."""
    from vision_attn.runs.folder import RunFolder
    from vision_attn.training.config import read_stored_config, typed_keys

    folder = RunFolder(Path(options.run_dir or "runs/latest").resolve())
    if not folder.config.is_file() or not folder.last.is_file():
        missing = folder.last if folder.config.is_file() else folder.config
        raise UserError(
            f"--resume: {folder.path} has nothing to go on from ({missing} is missing)."
        )
    typed = typed_keys(settings)
    other = [key for key in typed if not key.startswith("trainer.") and key not in MAY_CHANGE]
    other += [key for key in ("data", "config", "init_from") if getattr(options, key)]
    if other:
        raise UserError(
            f"--resume goes on with the run as it was, so --{other[0]} cannot change; "
            f"for a new run from its weights: --init_from {folder.path} --run_dir NEW."
        )
    config = read_stored_config(folder.config, options.trust)
    return train(config, settings, folder, options, checkpoint=folder.last)


def train(
    config: dict[str, Any],
    settings: list[str],
    folder: Any,
    options: argparse.Namespace,
    checkpoint: Path | None = None,
) -> int:
    """Train; once more in halves, where batches of a size that chose itself do not fit."""
    try:
        return attempt(config, settings, folder, options, checkpoint)
    except LackOfMemory as lack:
        if not lack.batches.may_be_halved:
            raise
        halves = lack.batches.halves
        print(lack.batches.told(folder.last.exists()), flush=True)
    release_memory()  # out of the clause, in which the error still holds the model
    if not folder.last.exists():
        return attempt(config, [*settings, *halves], folder, options)
    from vision_attn.runs.yaml_file import load_yaml
    from vision_attn.training.config import with_full_names

    return attempt(with_full_names(load_yaml(folder.config)), halves, folder, options, folder.last)


def attempt(
    config: dict[str, Any],
    settings: list[str],
    folder: Any,
    options: argparse.Namespace,
    checkpoint: Path | None = None,
) -> int:
    """Build task, data and trainer; fit, keep the best weights, test."""
    from vision_attn.training.auto_settings import automatic, chosen_automatically
    from vision_attn.training.callbacks.checkpoint_io import epoch_to_come
    from vision_attn.training.config import typed_keys
    from vision_attn.training.init_from import initialise
    from vision_attn.training.lightning_cli import TrainingCLI

    pretrained = config["model"].get("pretrained", False)
    if checkpoint:  # it has every weight: nothing is to be fetched again
        config["model"]["pretrained"] = False
    with folder.bounds() if checkpoint else nullcontext():  # a run from elsewhere may go on, too
        cli = TrainingCLI(config, settings, folder)
    resolved = cli.resolved()
    model, data = cli.model.model, cli.datamodule
    if checkpoint:
        resolved["model"]["pretrained"] = pretrained
        data.first_epoch = epoch_to_come(checkpoint)
    start_from = options.init_from
    told = initialise(model, Path(start_from), data.class_names) if start_from else ""
    chosen = chosen_automatically(folder.config) if checkpoint else automatic(cli.given(), resolved)
    chosen = [key for key in chosen if key not in typed_keys(settings)]
    data.setup("fit")  # so that unreadable images are told before anything is written
    if not (checkpoint or start_from):
        model.backbone.fit_inputs(data.sample)
    batches = Batches(
        data.batch_size,
        cli.trainer.accumulate_grad_batches,
        may_be_halved="data.batch_size" in chosen and cli.trainer.world_size == 1,
    )
    with alone(folder, resumed=checkpoint is not None), mishaps_told(folder.path, batches):
        if cli.trainer.is_global_zero:
            tell(cli, resolved, told)
            record(folder, resolved, chosen)
            record_splits(folder, data, resumed=checkpoint is not None)
            record_environment(folder, options.words, resolved["seed_everything"], data.splits)
        return trained(cli, folder, options, (resolved, chosen), checkpoint)


def trained(
    cli: Any,
    folder: Any,
    options: argparse.Namespace,
    settings: tuple[dict[str, Any], list[str]],
    checkpoint: Path | None,
) -> int:
    """Fit, keep the best weights, test and report."""
    from vision_attn.training.callbacks.best_model import ModelKeeper, card_of
    from vision_attn.training.callbacks.progress import Pace
    from vision_attn.training.callbacks.tensorboard_overlays import Overlays
    from vision_attn.training.callbacks.terminate_on_nan import StopDiverged

    data, (resolved, chosen) = cli.datamodule, settings
    card = card_of(cli.model.model, resolved["model"]["pooling"], data)
    # In this order: nothing spoilt is kept.
    keepers = [StopDiverged(folder.path), ModelKeeper(folder, card, data.monitored)]
    callbacks = cast(Any, cli.trainer).callbacks  # Lightning sets the list without typing it
    callbacks += [*keepers, Overlays()] if options.overlays == "true" else keepers
    pace = next(one for one in callbacks if isinstance(one, Pace))
    try:
        with misfits_told(checkpoint, begun=lambda: pace.started > 0):
            cli.trainer.fit(cli.model, data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # how Lightning ends a training at Ctrl-C
        if folder.last.exists():
            print(f"stopped; go on with: vision-attn fit --run_dir {folder.path} --resume")
        return 130
    finish(cli, folder)
    if cli.trainer.is_global_zero:
        if options.report == "true":
            report_at_end(cli, folder, resolved, chosen)
        print(f"run       {folder.path}")
        print(f"look      vision-attn explain {folder.path} IMAGE_OR_FOLDER...")
    return 0


def finish(cli: Any, folder: Any) -> None:
    """Test the best weights, and write and tell the scores."""
    folder.fill(cli.model.model)
    stages = [("val", cli.trainer.validate), ("test", cli.trainer.test)]
    for stage, score in stages:
        if stage in cli.datamodule.splits:
            found = score(cli.model, cli.datamodule, verbose=False)
            if not (found and cli.trainer.is_global_zero):  # none with limit_val_batches 0
                continue
            (scores,) = found
            folder.add_metrics(scores)
            told = [
                f"{name} {scores[f'{stage}/{key}']:.4f}"
                for key, name in TOLD.items()
                if math.isfinite(scores[f"{stage}/{key}"])
            ]
            print(f"{stage:<9} {', '.join(told)}")
