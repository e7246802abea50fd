"""Score a run on its validation or test images, or write its report."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from vision_attn.evaluation.report.page import write_report
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.settings_summary import about_run
from vision_attn.runs.yaml_file import load_yaml
from vision_attn.training.auto_settings import recorded_auto_settings
from vision_attn.training.config import merge, with_full_names
from vision_attn.training.duration import is_accelerated
from vision_attn.training.intervals import bounds, score_intervals
from vision_attn.training.overrides import Pair, nested
from vision_attn.training.precision import full_precision
from vision_attn.training.processes.group import joined
from vision_attn.training.processes.launcher import check_devices, launched
from vision_attn.training.restore import evaluation_config, restore


@dataclass(frozen=True)
class Scores:
    """The scores of a split.

    Attributes:
        values: the scores by name.
        images: the number of images.
        is_first_process: whether this process is the one that prints.
    """

    values: dict[str, float]
    images: int
    is_first_process: bool = True


def score(
    run: str | Path,
    stage: str,
    data: str | None = None,
    options: Sequence[Pair] = (),
    trusted: Sequence[str] = (),
) -> Scores:
    """Score a run on one split, each image once, with any number of processes.

    Args:
        run: the run folder.
        stage: "val" or "test".
        data: other images than the run's own.
        options: settings by dotted names, such as `data.batch_size`.
        trusted: dotted paths of the user's own classes that the run may import.

    Returns:
        The scores, the same in all processes.

    Raises:
        UserError: the run or the images are invalid.
    """
    launch = launched()
    several = launch is not None and launch.count > 1
    with joined(launch) if launch is not None and several else nullcontext():
        return score_share(RunFolder(Path(run)), stage, data, options, trusted)


def score_share(
    folder: RunFolder,
    stage: str,
    data: str | None,
    options: Sequence[Pair],
    trusted: Sequence[str],
) -> Scores:
    """Score a run in this process, perhaps together with others; see `score`."""
    given = nested(options).get("trainer") or {}
    check_devices(launched(), given, is_accelerated(str(given.get("accelerator", "auto"))))
    config = evaluation_config(folder, data, trusted, stage)
    cli = restore(folder, merge(config, with_full_names(nested(options))), data, stage)
    folder.fill(cli.model.model)
    loop = cli.trainer.validate if stage == "val" else cli.trainer.test
    with full_precision(cli.trainer):
        (scores,) = loop(cli.model, cli.datamodule, verbose=False)
    intervals = score_intervals(cli.model.outcomes, cli.datamodule, stage)
    values = {**scores, **bounds(stage, intervals)}
    return Scores(values, len(cli.datamodule.store(stage)), cli.trainer.is_global_zero)


def report(run: str | Path, out: Path | None, trusted: Sequence[str]) -> Path:
    """Write the HTML report of a run; returns its path.

    Args:
        run: the run folder.
        out: the file to write; None writes `report.html` in the run folder.
        trusted: dotted paths of the user's own classes that the run may import.

    Raises:
        UserError: there is no run, or no image could be read.
    """
    folder = RunFolder(Path(run))
    config = evaluation_config(folder, None, trusted, "test")
    cli = restore(folder, config)
    model = folder.load_model(trusted).to(cli.trainer.strategy.root_device)
    stored = load_yaml(folder.config) if folder.config.is_file() else config
    about = about_run(stored, cli.datamodule, model, recorded_auto_settings(folder.config))
    path = out or folder.report
    write_report(folder, model, cli.datamodule, about, path)
    return path
