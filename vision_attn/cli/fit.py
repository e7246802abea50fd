"""`vision-attn fit`: train a model, test it, and leave everything in one run folder."""

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vision_attn.cli.arguments import ArgumentParser
from vision_attn.core.errors import UserError
from vision_attn.core.registry import available_names
from vision_attn.core.terminal import say
from vision_attn.training.overrides import SHORT_OPTIONS, options_in

DESCRIPTION = """Train an attention-pooled classifier, test it, and write a run folder.

  vision-attn fit --data shapes                    a synthetic set, made on the fly
  vision-attn fit --data DIR                       DIR/train/CLASS/*.jpg, or DIR/CLASS/*.jpg
  vision-attn fit --data table.csv                 columns path, label and perhaps split
  vision-attn fit --config cifar10                 a packaged configuration
  vision-attn fit --data DIR --init_from RUN       fine-tune
  vision-attn fit --run_dir RUN --resume           resume an interrupted run
"""

EPILOG = """more settings (each can also be set in a configuration file):
  --model.freeze_epochs N          first epochs in which only pooling and head learn
  --model.min_grid N               smallest height and width of the feature grid, in places
  --model.optimizer NAME           any optimizer of torch; --model.optimizer.momentum 0.9
  --model.pooling.heads 8          an argument of the pooling
  --model.stem_lr_scale X          learning rate of the first layers, relative to the last ones
                                   (0.1 in fine-tuning)
  --data.balanced_sampling true|false   draw every class equally often (by default if their
                                   sizes differ fivefold)
  --data.source.root DIR           the folder that a table's paths start from (the table's own)
  --data.flip false                for images that must not be mirrored
  --data.color_jitter X            brightness and contrast of training images vary by this share
  --data.zoom X                    training images are enlarged by up to this factor (1.2)
  --data.augmentations A,B         rand_augment, trivial_augment, random_erasing, mixup, cutmix
  --data.cache DIR                 keep decoded images there, for later runs
  --ema X                          keep and score an exponential moving average, such as 0.99
  --patience N                     stop after N validations without a better score; 0 never
  --trainer.gradient_clip_val X    and every other argument of Lightning's Trainer

All of them, from LightningCLI: vision-attn fit --help_all
"""

SHORT_HELP = {
    "epochs": ("N", "how long to train"),
    "batch_size": ("N", "images per batch"),
    "lr": ("X", "learning rate"),
    "image_size": ("N", "height and width in pixels to which images are resized"),
    "backbone": (
        "NAME",
        "any CNN of timm, such as resnet18 or convnext_tiny (for photographs:"
        " tf_efficientnet_lite0, with a GPU resnet50d)",
    ),
    "pooling": ("NAME", "{poolings}, or the dotted path of your own"),
    "pretrained": (
        "true|false|PATH",
        "weights to start from: timm's, none, or a file or folder (default: timm's for photographs"
        " of 64 pixels and up, if they can be had)",
    ),
    "devices": ("N", "how many GPUs or processes"),
    "workers": ("N", "processes that read images which do not fit into memory"),
    "seed": ("N", "seed of weights, order and augmentation"),
}
SWITCHES = {
    "report": "write report.html at the end, which takes about two minutes at most",
    "overlays": "show attention on some validation images in TensorBoard, after each epoch",
}


def run(argv: list[str]) -> int:
    """Train, or resume a training; exit code 130 after Ctrl-C."""
    started = time.monotonic()  # importing the libraries takes seconds
    options, rest = parser().parse_known_args(argv)
    if options.help_all:
        from vision_attn.training.lightning_cli import print_all_settings

        print_all_settings()
        return 0
    if options.name and options.run_dir:
        raise UserError("--name and --run_dir both name the run folder; keep one of them.")
    run_dir = Path("runs", options.name) if options.name else options.run_dir
    settings = [*options.settings, *options_in(rest)]

    from vision_attn.training.folds import FitRequest, fit_as_asked

    result = fit_as_asked(
        FitRequest(
            data=options.data,
            configs=options.config,
            options=settings,
            run_dir=run_dir,
            init_from=options.init_from,
            folds=options.folds,
            resume=options.resume,
            trust=options.trust,
            report=options.report == "true",
            overlays=options.overlays == "true",
            max_minutes=options.max_minutes,
            started=started,
            command=["fit", *argv],
        )
    )
    path = result.folder.path
    if result.interrupted:
        if result.can_resume:
            say(f"stopped; resume with: vision-attn fit --run_dir {path} --resume")
        return 130
    if result.is_first_process:
        say(f"run       {path}")
        say(f"look      vision-attn explain {path} IMAGE_OR_FOLDER...")
    return 0


class AppendSetting(argparse.Action):
    """Collects settings with short names by their dotted names, in their order."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add one setting."""
        name = SHORT_OPTIONS[self.dest]
        namespace.settings = [*getattr(namespace, "settings", []), (name, values)]


def parser() -> ArgumentParser:
    """The options that are not settings, and the settings that have short names."""
    found = ArgumentParser(
        "fit", DESCRIPTION, EPILOG, "vision-attn fit --data DIR_OR_NAME ...", add_help=False
    )
    found.set_defaults(settings=[])
    poolings = ", ".join(available_names(Path(__file__).parents[1] / "pooling", "Pooling"))
    short = found.add_argument_group("settings that people use most")
    for name, (metavar, what) in SHORT_HELP.items():
        short.add_argument(
            f"--{name}",
            action=AppendSetting,
            metavar=metavar,
            help=what.format(poolings=poolings),
        )
    add = found.add_argument_group("the run").add_argument
    add("--data", metavar="DIR_OR_NAME", help="a folder or table, or shapes, cifar10, cifar100")
    add("--config", action="append", default=[], metavar="FILE_OR_NAME", help="may be repeated")
    add("--name", help="name of the run: its folder is runs/NAME")
    add("--run_dir", type=Path, metavar="DIR", help="the run folder (runs/<date-time>-<data>)")
    add("--init_from", type=Path, metavar="RUN_OR_WEIGHTS", help="fine-tune from another run")
    add(
        "--folds", type=int, metavar="K",
        help="score every image once, by K models that are trained without it; keep one of all",
    )  # fmt: skip
    add("--resume", action="store_true", help="resume the run in --run_dir (or runs/latest)")
    add(
        "--max_minutes",
        type=float,
        default=math.inf,
        metavar="M",
        help="be done in M minutes: train as many epochs as fit, and leave out what does not",
    )
    for name, what in SWITCHES.items():
        add(f"--{name}", choices=("true", "false"), default="true", help=f"{what} (%(default)s)")
    add("--help_all", action="store_true", help="every setting there is")
    add("-h", "--help", action="help", help="show this page")
    found.add_trust("classes of your own that a run or a configuration file may name")
    return found
