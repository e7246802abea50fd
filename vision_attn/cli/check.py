"""`vision-attn check`: what is wrong with a set of images, before hours are lost."""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vision_attn.cli.arguments import Options
from vision_attn.core.errors import UserError

HELP = """Look at every image of a folder or table, and tell what training would suffer from.

  vision-attn check photos                         photos/CLASS/*.jpg, or photos/train/CLASS/*.jpg
  vision-attn check table.csv                      files and labels in a table, as for fit
  vision-attn check photos --truth masks           boxes or masks, too
"""

EPILOG = """exit codes:
  0   fine, or notes alone
  1   something is wrong that training or its scores would suffer from
  2   the command cannot be carried out: no such folder, for instance
"""
SHOWN = 3  # files named with each finding on the screen; --json FILE names all
COMMONEST = 4  # sizes told


def run(words: list[str]) -> int:
    """Survey the images, run every check, tell what they found."""
    options = parser().parse_args(words)
    from vision_attn.core.registry import catalog
    from vision_attn.data.checks.base import Check

    survey = look_at(options)
    told = {name: list(check().findings(survey)) for name, check in sorted(catalog(Check).items())}
    facts = facts_of(survey)
    tell_facts(options.data, facts)
    code = tell_findings([finding for found in told.values() for finding in found])
    if options.json:
        write_json(Path(options.json), options.data, facts, told, code)
    return code


def parser() -> argparse.ArgumentParser:
    """What the user types."""
    found = Options("check", HELP, epilog=EPILOG)
    add = found.add_argument
    add("data", metavar="DIR_OR_TABLE", help="a folder of images, or a CSV or Parquet file")
    add("--root", metavar="DIR", help="the folder that a table's paths start from (the table's)")
    add("--truth", metavar="PATH", help="where the objects are: boxes.csv, or a folder of masks")
    add("--json", metavar="FILE", help="write everything, with every file's name, into a file")
    return found


def look_at(options: argparse.Namespace) -> Any:
    """List the images, and read every one.

    Raises:
        UserError: there are none.
    """
    from dataclasses import replace

    from vision_attn.data.checks.image_stats import read_one
    from vision_attn.data.checks.parallel import for_each
    from vision_attn.data.checks.scan import survey_of_folder, survey_of_splits
    from vision_attn.data.sources.image_table import ImageTable

    place = Path(options.data).expanduser()
    truth = Path(options.truth).expanduser() if options.truth else None
    if truth is not None and not truth.exists():
        raise UserError(f"--truth: there is no file or folder {truth}.")
    if options.root and not place.is_file():
        raise UserError("--root belongs to a table.")
    if place.is_file():
        source = ImageTable(str(place), root=options.root)
        survey = replace(survey_of_splits(source.root, source.splits()), truth=truth)
    else:
        survey = survey_of_folder(place, truth)
    if not survey.images:
        raise UserError(f"{survey.root} has no images: put some into {survey.root}/CLASS/.")
    paths = [image.path for image in survey.images]
    return replace(survey, readings=list(for_each(read_one, paths, "looking at images")))


def facts_of(survey: Any) -> dict[str, Any]:
    """Counts, sizes, modes and formats."""
    read = [found for found in survey.readings if not found.trouble]
    sizes = Counter(f"{found.size[0]}x{found.size[1]}" for found in read)
    return {
        "images": len(survey.images),
        "classes": {split: dict(sorted(found.items())) for split, found in survey.counts.items()},
        "sizes": dict(sizes.most_common()),
        "modes": dict(Counter(found.mode for found in read).most_common()),
        "formats": dict(Counter(found.format for found in read).most_common()),
        "grey": sum(found.grey for found in read),
    }


def tell_facts(data: str, facts: dict[str, Any]) -> None:
    """A few lines on what there is."""
    classes = {name for counts in facts["classes"].values() for name in counts}
    splits = ", ".join(f"{sum(c.values()):,} {split}" for split, c in facts["classes"].items())
    print(f"data      {data}: {splits} images of {len(classes)} classes")
    for split, counts in facts["classes"].items():
        least, most = min(counts.values()), max(counts.values())
        print(f"{split:<9} {least if least == most else f'{least:,} to {most:,}'} images a class")
    print(f"sizes     {listed(facts['sizes'])}")
    print(f"stored as {listed(facts['modes'])}; {listed(facts['formats'])}; {facts['grey']:,} grey")


def listed(counts: dict[str, int]) -> str:
    """The commonest few of what was counted.

    >>> listed({"RGB": 1200, "L": 3}), listed({})
    ('1,200 RGB, 3 L', 'none')
    """
    common = [f"{count:,} {name}" for name, count in list(counts.items())[:COMMONEST]]
    rest = len(counts) - len(common)
    return ", ".join(common + [f"{rest} others"] * (rest > 0)) or "none"


def tell_findings(findings: Sequence[Any]) -> int:
    """Every finding, the worst first, with a few examples; the exit code."""
    from vision_attn.data.checks.base import Severity

    for found in sorted(findings, key=lambda finding: -finding.severity):
        print(f"{'note' if found.severity == Severity.NOTE else 'WRONG':<9} {found.what}")
        for item in found.items[:SHOWN]:
            print(f"{'':9}   {item}")
        if len(found.items) > SHOWN:
            print(f"{'':9}   and {len(found.items) - SHOWN:,} more")
        print(f"{'':9} -> {found.advice}")
    wrong = sum(found.severity > Severity.NOTE for found in findings)
    notes = len(findings) - wrong
    print(f"found     {f'{wrong} wrong, {notes} to note' if findings else 'nothing: all is well'}")
    return 1 if wrong else 0


def write_json(
    place: Path, data: str, facts: dict[str, Any], told: dict[str, list[Any]], code: int
) -> None:
    """Everything that was found, for other programs."""
    findings = [
        {
            "check": name,
            "severity": finding.severity.name.lower(),
            "what": finding.what,
            "advice": finding.advice,
            "items": list(finding.items),
        }
        for name, found in told.items()
        for finding in found
    ]
    content = {"data": data, **facts, "findings": findings, "exit_code": code}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    try:
        place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--json: cannot write {place}: {error.strerror}.") from error
    print(f"written   {place}")
