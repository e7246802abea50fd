"""Score a run on its validation or test images, or write its report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vision_attn.evaluation.report.page import write_report
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.settings_summary import about_run
from vision_attn.runs.yaml_file import load_yaml
from vision_attn.training.auto_settings import recorded_auto_settings
from vision_attn.training.config import merge, with_full_names
from vision_attn.training.intervals import bounds, score_intervals
from vision_attn.training.overrides import Pair, nested
from vision_attn.training.precision import full_precision
from vision_attn.training.restore import evaluation_config, restore


def score(
    run: str | Path,
    stage: str,
    data: str | None = None,
    options: Sequence[Pair] = (),
    trusted: Sequence[str] = (),
) -> tuple[Mapping[str, float], int]:
    """Score a run on one split.

    Args:
        run: the run folder.
        stage: "val" or "test".
        data: other images than the run's own.
        options: settings by dotted names, such as `data.batch_size`.
        trusted: dotted paths of the user's own classes that the run may import.

    Returns:
        The scores by name, and the number of images.

    Raises:
        UserError: the run or the images are invalid.
    """
    folder = RunFolder(Path(run))
    config = evaluation_config(folder, data, trusted, stage)
    cli = restore(folder, merge(config, with_full_names(nested(options))), data, stage)
    folder.fill(cli.model.model)
    loop = cli.trainer.validate if stage == "val" else cli.trainer.test
    with full_precision(cli.trainer):
        (scores,) = loop(cli.model, cli.datamodule, verbose=False)
    intervals = score_intervals(cli.model.outcomes, cli.datamodule, stage)
    return {**scores, **bounds(stage, intervals)}, len(cli.datamodule.store(stage))


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
