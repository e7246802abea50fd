"""What `validate` and `test` share: a run's model, scored on one split."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_attn.commands.options import Options
from vision_attn.errors import UserError

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from vision_attn.data.module import ImageData

EPILOG = """settings, as of fit: --data.batch_size N, --trainer.accelerator cpu, ...

A folder of classes alone (DIR/CLASS/*.jpg) is scored as a whole.
"""


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

    from vision_attn.run import RunFolder
    from vision_attn.training import TrainingCLI

    folder = RunFolder(Path(options.run))
    config = scoring_config(folder, options.data, options.trust, stage)
    with folder.bounds():
        cli = TrainingCLI(config, settings, None)
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
    from vision_attn.composition import (
        check_trusted,
        data_source,
        merge,
        read_config,
        read_stored_config,
    )

    card = folder.load_card()
    check_trusted(card.settings(), trusted, folder.card)
    config = read_config("defaults")
    if folder.config.is_file():
        config = merge(config, read_stored_config(folder.config, trusted))
    config = merge(config, card.settings())
    # How it was trained (devices, loggers, limits) says nothing of how to score it.
    trainer = config.get("trainer", {})
    config["trainer"] = {k: trainer[k] for k in ("accelerator", "precision") if k in trainer}
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


def judged_split(config: dict[str, Any]) -> "tuple[ImageData, str]":
    """The data of a configuration, and the split that a model is judged on.

    Where there are no test images, validation images stand in.
    """
    from vision_attn.training import TrainingCLI

    config.pop("trainer", None)  # nothing is trained; the device is this machine's own
    data = TrainingCLI(config, [], None).datamodule
    return data, "test" if "test" in data.splits else "val"


def spread(count: int, most: int) -> list[int]:
    """At most so many indices, spread evenly over all.

    >>> spread(3, 5), spread(10, 4)
    ([0, 1, 2], [0, 3, 6, 9])
    """
    import numpy as np

    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
