"""What `validate` and `test` share: a run's model, scored on one split."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_attn.cli.arguments import Options
from vision_attn.core.errors import UserError

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from vision_attn.data.datamodule import ImageData
    from vision_attn.training.lightning_cli import TrainingCLI

EPILOG = """settings, as of fit: --data.batch_size N, --trainer.accelerator cpu, ...

A folder of classes alone (DIR/CLASS/*.jpg) is scored as a whole.
"""
OF_A_MACHINE = ("num_workers", "memory_limit")


def score(words: list[str], verb: str, stage: str) -> int:
    """Score a run on `stage` ("val" or "test") and print the scores."""
    parser = Options(verb, f"Score a run on its {stage} images.", epilog=EPILOG)
    parser.add_argument("run", metavar="RUN", help="a run folder that fit made")
    parser.add_argument("--data", metavar="DIR_OR_NAME", help="other images than the run's own")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="CLASS", help="own code the run may use"
    )
    options, settings = parser.parse_known_args(words)
    if any(word.startswith("--model") for word in settings):
        raise UserError(f"{verb} scores the model as it is; --model settings are for fit.")

    from vision_attn.runs.folder import RunFolder

    folder = RunFolder(Path(options.run))
    config = scoring_config(folder, options.data, options.trust, stage)
    cli = scorer(folder, config, settings, options.data)
    folder.fill(cli.model.model)
    loop = cli.trainer.validate if stage == "val" else cli.trainer.test
    (scores,) = loop(cli.model, cli.datamodule, verbose=False)
    count = len(cli.datamodule.store(stage))
    print(f"{stage} images {count}")
    for name, value in scores.items():
        print(f"{name} {value:.4f}")
    return 0


def scoring_config(folder: Any, data: str | None, trusted: list[str], stage: str) -> dict[str, Any]:
    """The run's own configuration, for its model and its classes, on its or on other images."""
    from vision_attn.training.config import (
        check_trusted,
        data_source,
        merge,
        read_config,
        read_stored_config,
        with_full_names,
    )

    card = folder.load_card()
    check_trusted(card.settings(), trusted, folder.card)
    config = read_config("defaults")
    if folder.config.is_file():
        config = merge(config, read_stored_config(folder.config, trusted))
    config = merge(config, with_full_names(card.settings()))
    # How it was trained (devices, loggers, limits, readers) says nothing of how to score it.
    trainer = config.get("trainer", {})
    config["trainer"] = {k: trainer[k] for k in ("accelerator", "precision") if k in trainer}
    config["data"] = {k: v for k, v in config["data"].items() if k not in OF_A_MACHINE}
    if data:
        source = data_source(data)
        if {"root", "table"} & set(source["init_args"]):
            source["init_args"]["alone"] = stage
            config["data"].pop("source", None)  # its root and truth belong to other images
        config = merge(config, {"data": {"source": source}})
    # Labels are mapped to the model's logits by name, and weights come from the run alone.
    return merge(
        config, {"data": {"class_names": card.class_names}, "model": {"pretrained": False}}
    )


def scorer(
    folder: Any, config: dict[str, Any], settings: Sequence[str] = (), other: str | None = None
) -> "TrainingCLI":
    """Model, images and trainer to score a run with.

    Args:
        folder: the run.
        config: as `scoring_config` makes it.
        settings: words of the command line.
        other: other images than the run's own, which the configuration names.

    Raises:
        UserError: the model is larger than its weights; the images are not as they should be.
    """
    from vision_attn.training.lightning_cli import TrainingCLI

    with folder.bounds():
        cli = TrainingCLI(config, settings, None)
    if folder.split.is_file():
        if other is None:
            hold_to_record(cli.datamodule, folder.split)
        else:
            tell_of_trained(cli.datamodule, folder)
    return cli


def tell_of_trained(data: "ImageData", folder: Any) -> None:
    """Tell how many of other images are the very files that the run was trained on."""
    from vision_attn.data.recorded_splits import read_record
    from vision_attn.runs.yaml_file import load_yaml

    source = (
        load_yaml(folder.config).get("data", {}).get("source") if folder.config.is_file() else {}
    )
    own = (source or {}).get("init_args") or {}
    root = own.get("root") or (Path(own["table"]).parent if own.get("table") else None)
    if root is None:
        return
    record = read_record(folder.split)
    trained = {os.path.realpath(Path(root, f)) for f, split in record.items() if split == "train"}
    names = [name for split in data.splits.values() if split.are_files for name in split.names]
    count = sum(os.path.realpath(name) in trained for name in names)
    if count:
        print(f"check     {count} of these {len(names)} images were trained on ({folder.split}).")


def judged(
    folder: Any, trusted: list[str], other: str | None = None, truth: str | None = None
) -> "tuple[ImageData, str]":
    """The images that a run is judged on, and the split that they are.

    Where there are no test images, validation images stand in.

    Args:
        folder: the run.
        trusted: dotted paths of the user's own classes.
        other: other images than the run's own.
        truth: where the objects are.

    Raises:
        UserError: as `scorer`; or `truth` is given for images that are no files.
    """
    config = scoring_config(folder, other, trusted, "test")
    if truth:
        source = config["data"]["source"]
        if not {"root", "table"} & set(source.get("init_args", {})):
            raise UserError("--truth belongs to a folder or a table, and this data is none.")
        source["init_args"]["truth"] = truth
    config.pop("trainer", None)  # nothing is trained; the device is this machine's own
    data = scorer(folder, config, [], other).datamodule
    return data, "test" if "test" in data.splits else "val"


def hold_to_record(data: "ImageData", record: Path) -> None:
    """Split a run's own images as it recorded, whatever has been done to their folder since.

    What it was trained on is never scored. A line tells what is gone or new. Images that are no
    files cannot have changed.
    """
    from vision_attn.data.recorded_splits import as_recorded, read_record

    found, root = data.source.splits(), getattr(data.source, "root", None)
    if root is None or not all(split.are_files for split in found.values()):
        return
    splits, lines = as_recorded(found, read_record(record), root)
    data.regroup(splits)
    for line in lines:
        print(f"check     {line} ({record}).")


def spread(count: int, most: int) -> list[int]:
    """At most so many indices, spread evenly over all.

    >>> spread(3, 5), spread(10, 4)
    ([0, 1, 2], [0, 3, 6, 9])
    """
    import numpy as np

    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
