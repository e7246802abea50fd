"""Restore the model, splits and images of a run, to evaluate it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vision_attn.core.errors import UserError, first_line
from vision_attn.core.terminal import say
from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.io.gray_range import as_range
from vision_attn.data.io.image import to_unit_range
from vision_attn.data.io.paths import listed_images
from vision_attn.data.io.read_many import readable
from vision_attn.data.io.skipped_files import SkippedFiles
from vision_attn.data.recorded_splits import as_recorded, held_out_of, read_record
from vision_attn.data.sources.files import split_of_files, with_gray_range
from vision_attn.data.split import Split
from vision_attn.data.splits import evenly_spaced
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.loaded_model import LoadedModel
from vision_attn.training.config import (
    Config,
    merge,
    read_config,
    read_config_file,
    resolve_data,
    with_full_names,
)
from vision_attn.training.config_trust import check_trusted
from vision_attn.training.lightning_cli import TrainingCLI

MOST_IMAGES = 100  # on which an export is compared with its model
MACHINE_SETTINGS = ("num_workers", "memory_limit")


def evaluation_config(
    folder: RunFolder, data: str | None, trusted: Sequence[str], stage: str
) -> Config:
    """The configuration to evaluate a run's model on its own images or on other ones."""
    spec = folder.load_spec()
    check_trusted(spec.settings(), trusted, folder.spec_file)
    config = read_config("defaults")
    if folder.config.is_file():
        config = merge(config, read_config_file(folder.config, trusted))
    config = merge(config, with_full_names(spec.settings()))
    # Settings of the training (devices, loggers, limits, workers) are not used for evaluation.
    trainer = config.get("trainer", {})
    config["trainer"] = {k: trainer[k] for k in ("accelerator", "precision") if k in trainer}
    config["data"] = {k: v for k, v in config["data"].items() if k not in MACHINE_SETTINGS}
    if data:
        source = resolve_data(data)
        if {"root", "table"} & set(source["init_args"]):
            source["init_args"]["default_split"] = stage
            config["data"].pop("source", None)  # its root and masks belong to the run's images
        config = merge(config, {"data": {"source": source}})
    # Labels are matched to the model's logits by name, and weights come from the run alone.
    return merge(
        config, {"data": {"class_names": spec.class_names}, "model": {"pretrained": False}}
    )


def restore(
    folder: RunFolder, config: Config, other: str | None = None, stage: str = "test"
) -> TrainingCLI:
    """Build model, data and trainer for evaluation, with the recorded splits of the run.

    Args:
        folder: the run.
        config: as `evaluation_config` makes it.
        other: other images than the run's own, which the configuration names.
        stage: the split that they are scored as.

    Raises:
        UserError: the model is larger than its weights, or the images are invalid.
    """
    with folder.size_limit():
        cli = TrainingCLI(config, None)
    cli.model.use_activation(folder.load_spec().activation)
    if folder.split.is_file():
        if other is None:
            apply_recorded_splits(cli.datamodule, folder.split)
        else:
            leave_out_known(cli.datamodule, folder, stage)
    return cli


def leave_out_known(data: ImageDataModule, folder: RunFolder, stage: str) -> None:
    """Leave out, of images that the user names, those that the run used for something else.

    They are recognized by their content, and by their path within their folder: the data of a run
    may have been moved, or come from another machine. A line says how many are left out.

    Raises:
        UserError: none is left.
    """
    root = getattr(data.source, "root", None)
    stage = stage if stage in data.splits else "val"
    if root is None or stage not in data.splits or not data.splits[stage].are_files:
        return
    kept, lines = held_out_of(data.splits[stage], stage, read_record(folder.split), root)
    data.regroup({**data.splits, stage: kept})
    for line in lines:
        say(f"check     {line} ({folder.split}).")


def evaluation_data(
    folder: RunFolder,
    trusted: Sequence[str] = (),
    other: str | None = None,
    truth: str | None = None,
) -> tuple[ImageDataModule, str]:
    """The images to evaluate a run on, and the name of their split.

    Validation images are used if there are no test images.

    Args:
        folder: the run.
        trusted: dotted paths of the user's own classes that the run may import.
        other: other images than the run's own.
        truth: ground truth of objects: boxes.csv, or a folder of masks.

    Raises:
        UserError: as `restore`; or `truth` is given for images that are not files.
    """
    config = evaluation_config(folder, other, trusted, "test")
    if truth:
        source = config["data"]["source"]
        if not {"root", "table"} & set(source.get("init_args", {})):
            raise UserError(
                "--truth needs a folder or a table of images, and this data is neither."
            )
        source["init_args"]["truth"] = truth
    config.pop("trainer", None)  # nothing is trained; the device is this machine's own
    data = restore(folder, config, other).datamodule
    return data, "test" if "test" in data.splits else "val"


def apply_recorded_splits(data: ImageDataModule, record: Path) -> None:
    """Restore the recorded splits of a run, even if images were added or removed since.

    So images that it was trained on are never evaluated. A line says which images are missing or
    new. Images that are not files cannot have changed.
    """
    found, root = data.source.splits(), getattr(data.source, "root", None)
    if root is None or not all(split.are_files for split in found.values()):
        return
    splits, lines = as_recorded(found, read_record(record), root)
    data.regroup(splits)
    for line in lines:
        say(f"check     {line} ({record}).")


def load_for_evaluation(
    run: str | Path, trusted: Sequence[str], other: str | None = None, truth: str | None = None
) -> tuple[LoadedModel, ImageDataModule, str]:
    """Load a run's model and the images to evaluate it on; see `evaluation_data`.

    Raises:
        UserError: there is no run, or the images are invalid.
    """
    folder = RunFolder(Path(run))
    folder.load_spec()  # before the images are read
    data, stage = evaluation_data(folder, trusted, other, truth)
    return LoadedModel.from_run(run, trusted), data, stage


def comparison_images(
    run: str | Path, paths: Sequence[str] | None, trusted: Sequence[str]
) -> Tensor:
    """Up to 100 images (B, 3, H, W) in [0, 1], on which an export is compared with its model.

    Args:
        run: the run folder.
        paths: image files and folders; None takes the run's own test images.
        trusted: dotted paths of the user's own classes that the run may import.

    Raises:
        UserError: there are no images, or none of them can be read.
    """
    folder = RunFolder(Path(run))
    spec = folder.load_spec()
    size = spec.image_size
    split, whose = named_images(paths) if paths else own_images(folder, trusted)
    split = with_gray_range(split, as_range(spec.gray_range))
    indices = evenly_spaced(len(split), MOST_IMAGES)
    images = [image for _, image in readable(split, indices, size)]
    if not images:
        raise UserError("none of the images to compare on could be read; name others: --images")
    say(f"compared   on {len(images)} {whose}")
    return to_unit_range(torch.stack(images))


def named_images(paths: Sequence[str]) -> tuple[Split, str]:
    """The images in the given files and folders, and how to describe them.

    Raises:
        UserError: a file or folder does not exist.
    """
    skipped = SkippedFiles()
    files = list(listed_images(paths, skipped))
    skipped.report()
    missing = [file for file in files if not file.exists()]
    if missing:
        raise UserError(f"--images: there is no file or folder {missing[0]}.")
    return split_of_files(files, [""] * len(files)), "of the images named"


def own_images(folder: RunFolder, trusted: Sequence[str]) -> tuple[Split, str]:
    """The run's own test images, and how to describe them.

    Raises:
        UserError: the images do not exist.
    """
    try:
        data, name = evaluation_data(folder, trusted)
    except UserError as error:
        raise UserError(
            f"no images to compare on ({first_line(error)}); name some: --images DIR"
        ) from error
    return data.split(name), f"of the run's {name} images"
