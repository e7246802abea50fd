"""`vision-attn report`: one self-contained page on a run."""

from pathlib import Path

from vision_attn.cli.arguments import ArgumentParser
from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say

DESCRIPTION = """Write one page on a run: scores, mistakes with their evidence, curves, calibration.

The page holds its own pictures, loads nothing from the internet, and can be sent to others.
"""


def parser() -> ArgumentParser:
    """The options of the command."""
    found = ArgumentParser("report", DESCRIPTION)
    found.add_run()
    found.add_argument("--out", metavar="FILE", help="where to write (RUN/report.html)")
    return found


def run(argv: list[str]) -> int:
    """Predict the run's test images and write the page."""
    options = parser().parse_args(argv)
    out = Path(options.out) if options.out else None
    if out is not None and out.is_dir():
        raise UserError(f"--out: {out} is a folder; name a file, such as {out / 'report.html'}.")

    from vision_attn.core.atomic import make_folder
    from vision_attn.training.score import report

    folder = Path(options.run) if out is None else out.parent
    if folder.is_dir():  # else the run is missing, which is said below
        make_folder(folder, "Choose another place: --out FILE.")
    say(f"report    {report(options.run, out, options.trust)}")
    return 0
