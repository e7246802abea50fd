"""`vision-attn check`: find problems in a set of images before training on it."""

from pathlib import Path

from vision_attn.cli.arguments import ArgumentParser
from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say

DESCRIPTION = """Read every image of a folder or table, and list what training would suffer from.

  vision-attn check photos                         photos/CLASS/*.jpg, or photos/train/CLASS/*.jpg
  vision-attn check table.csv                      files and labels in a table, as for fit
  vision-attn check photos --truth masks           boxes or masks, too
"""

EPILOG = """exit codes:
  0   no problems, or only notes
  1   there are problems from which training or its scores would suffer
  2   the command cannot be carried out, for instance because there is no such folder
"""


def run(argv: list[str]) -> int:
    """Read the images, run every check, print the findings."""
    options = parser().parse_args(argv)
    path = Path(options.data).expanduser()
    truth = Path(options.truth).expanduser() if options.truth else None
    if truth is not None and not truth.exists():
        raise UserError(f"--truth: there is no file or folder {truth}.")
    if options.root and not path.is_file():
        raise UserError("--root belongs to a table.")

    from vision_attn.data.checks.examination import examine

    found = examine(path, options.root, truth)
    for line in (*found.fact_lines(options.data), *found.finding_lines()):
        say(line)
    if options.json:
        found.write_json(Path(options.json), options.data)
        say(f"written   {options.json}")
    return found.exit_code


def parser() -> ArgumentParser:
    """The options of the command."""
    found = ArgumentParser("check", DESCRIPTION, EPILOG)
    add = found.add_argument
    add("data", metavar="DIR_OR_TABLE", help="a folder of images, or a CSV or Parquet file")
    add("--root", metavar="DIR", help="the folder that a table's paths start from (the table's)")
    add("--truth", metavar="PATH", help="where the objects are: boxes.csv, or a folder of masks")
    add("--json", metavar="FILE", help="write everything, with every file's name, into a file")
    return found
