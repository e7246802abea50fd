"""`vision-attn report`: one self-contained page on a run."""

import argparse
import sys
from pathlib import Path
from typing import Any

from vision_attn.cli.arguments import Options
from vision_attn.core.errors import UserError

PATIENCE = 60.0  # seconds in which fit asks the model for the page; a run that ended is not held up
DESCRIPTION = """Write one page on a run: scores, mistakes with their evidence, curves, calibration.

The page holds its own pictures, fetches nothing, and can be sent to somebody.
"""


def parser() -> argparse.ArgumentParser:
    """The verb's options."""
    found = Options("report", DESCRIPTION)
    add = found.add_argument
    add("run", metavar="RUN", help="a run folder that fit made")
    add("--out", metavar="FILE", help="where to (RUN/report.html)")
    add("--trust", action="append", default=[], metavar="CLASS", help="own code the run may use")
    return found


def run(words: list[str]) -> int:
    """Look at the run's test images and write the page."""
    options = parser().parse_args(words)
    from vision_attn.evaluation.report.page import write_report
    from vision_attn.runs.folder import RunFolder
    from vision_attn.runs.yaml_file import load_yaml
    from vision_attn.training.auto_settings import chosen_automatically
    from vision_attn.training.restore import scorer, scoring_config

    folder = RunFolder(Path(options.run))
    out = Path(options.out) if options.out else folder.report
    if out.is_dir():
        raise UserError(f"--out: {out} is a folder; name a file, such as {out / 'report.html'}.")
    config = scoring_config(folder, None, options.trust, "test")
    cli = scorer(folder, config)
    data, device = cli.datamodule, cli.trainer.strategy.root_device
    model = folder.load_model(options.trust).to(device)
    stored = load_yaml(folder.config) if folder.config.is_file() else config
    about = about_run(stored, data, model, chosen_automatically(folder.config))
    write_report(folder, model, data, about, out, cli.trainer.precision_plugin.forward_context)
    print(f"report    {out}")
    return 0


def about_run(config: dict[str, Any], data: Any, model: Any, chosen: list[str]) -> list[Any]:
    """What was trained on what: the lines that fit prints, and the settings that matter."""
    from vision_attn.runs.settings_summary import about_settings, source_of
    from vision_attn.training.summary import describe_model

    return [
        ("images", source_of(config), False),
        ("splits", data.describe(), False),
        ("model", describe_model(model, data.image_size, config), False),
        *about_settings(config, chosen),
    ]


def report_at_end(cli: Any, folder: Any, config: dict[str, Any], chosen: list[str]) -> None:
    """The page at the end of fit, within about two minutes; whatever fails, the run is whole.

    Raises:
        Unwritten: the disk is full.
    """
    from vision_attn.core.atomic import Unwritten
    from vision_attn.core.errors import first_line
    from vision_attn.evaluation.report.page import write_report

    trainer, data = cli.trainer, cli.datamodule
    try:
        model = cli.model.model.to(trainer.strategy.root_device)
        about, precision = about_run(config, data, model, chosen), trainer.precision_plugin
        write_report(folder, model, data, about, folder.report, precision.forward_context, PATIENCE)
        print(f"report    {folder.report}")
    except Unwritten:
        raise
    except Exception as error:  # a page is not worth a run, whatever the plotting trips over
        again = f"vision-attn report {folder.path} --debug"
        print(
            f"no report: {first_line(error)} (again, with the whole error: {again})",
            file=sys.stderr,
        )
