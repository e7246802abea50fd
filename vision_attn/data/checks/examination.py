"""Run every check on a data set and report the findings as text and JSON."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vision_attn.core import atomic
from vision_attn.core.errors import UserError
from vision_attn.core.parallel import threaded_map
from vision_attn.core.progress import progress
from vision_attn.core.registry import available
from vision_attn.data.checks.base import Check, Finding, Severity, count_noun
from vision_attn.data.checks.image_stats import image_stats
from vision_attn.data.checks.scan import survey_of_folder, survey_of_splits
from vision_attn.data.checks.survey import Survey
from vision_attn.data.choose_gray_range import choose_gray_range
from vision_attn.data.sources.image_table import ImageTable
from vision_attn.data.sources.metadata_folder import (
    MetadataFolder,
    metadata_tables,
    name_classes,
)

MAX_ITEMS = 3  # items printed per finding; the JSON file lists all
MAX_LISTED = 4  # sizes, modes and formats that are printed


@dataclass(frozen=True)
class Examination:
    """The survey of a data set and the findings of the checks.

    Attributes:
        survey: the images and their statistics.
        findings: per check, by its name.
    """

    survey: Survey
    findings: dict[str, list[Finding]]

    @property
    def exit_code(self) -> int:
        """1 if there is a problem that harms training or its scores, else 0."""
        return int(any(finding.severity > Severity.NOTE for finding in self.all_findings()))

    def all_findings(self) -> list[Finding]:
        """The findings of all checks, the most severe first."""
        findings = [finding for found in self.findings.values() for finding in found]
        return sorted(findings, key=lambda finding: -finding.severity)

    def facts(self) -> dict[str, Any]:
        """Counts of images, classes, sizes, pixel modes and formats."""
        read = [stats for stats in self.survey.stats if not stats.problem]
        sizes = Counter(f"{stats.size[0]}x{stats.size[1]}" for stats in read)
        return {
            "images": len(self.survey.images),
            "classes": {
                split: dict(sorted(counts.items())) for split, counts in self.survey.counts.items()
            },
            "sizes": dict(sizes.most_common()),
            "modes": dict(Counter(stats.mode for stats in read).most_common()),
            "formats": dict(Counter(stats.format for stats in read).most_common()),
            "gray": sum(stats.gray for stats in read),
        }

    def fact_lines(self, data: str) -> Iterator[str]:
        """A summary of the images in a few lines."""
        facts = self.facts()
        classes = {name for counts in facts["classes"].values() for name in counts}
        splits = ", ".join(f"{sum(c.values()):,} {name}" for name, c in facts["classes"].items())
        yield f"data      {data}: {splits} images of {len(classes)} classes"
        for split, counts in facts["classes"].items():
            least, most = min(counts.values()), max(counts.values())
            per_class = f"{least}" if least == most else f"{least:,} to {most:,}"
            yield f"{split:<9} {per_class} images per class"
        yield f"sizes     {most_common(facts['sizes'])}"
        if self.survey.gray:
            yield f"gray      {self.survey.gray}"
        yield (
            f"stored as {most_common(facts['modes'])}; {most_common(facts['formats'])}; "
            f"{facts['gray']:,} grayscale"
        )

    def finding_lines(self) -> Iterator[str]:
        """Every finding with a few items and the advice, then the number of findings."""
        findings = self.all_findings()
        for finding in findings:
            yield f"{'note' if finding.severity == Severity.NOTE else 'PROBLEM':<9} {finding.what}"
            yield from (f"{'':9}   {item}" for item in finding.items[:MAX_ITEMS])
            if len(finding.items) > MAX_ITEMS:
                yield f"{'':9}   and {len(finding.items) - MAX_ITEMS:,} more"
            yield f"{'':9} -> {finding.advice}"
        problems = sum(finding.severity > Severity.NOTE for finding in findings)
        notes = len(findings) - problems
        counts = f"{count_noun(problems, 'problem')}, {count_noun(notes, 'note')}"
        yield f"found     {counts if findings else 'no problems'}"

    def write_json(self, path: Path, data: str) -> None:
        """Write the facts and all findings as JSON.

        Raises:
            UserError: the file cannot be written.
        """
        findings = [
            {
                "check": name,
                "severity": finding.severity.name.lower(),
                "what": finding.what,
                "advice": finding.advice,
                "items": list(finding.items),
            }
            for name, found in self.findings.items()
            for finding in found
        ]
        content = {"data": data, **self.facts()}
        atomic.write_json(path, content | {"findings": findings, "exit_code": self.exit_code})


def examine(path: Path, root: str | None = None, truth: Path | None = None) -> Examination:
    """Read every image of a folder or table and run every check.

    Args:
        path: a folder of images, or a table.
        root: the folder that the paths of a table are relative to; None: the folder of the table.
        truth: ground truth of the objects: boxes.csv or a folder of masks.

    Raises:
        UserError: there are no images.
    """
    if path.is_file() or name_classes(metadata_tables(path)):
        source = ImageTable(str(path), root=root) if path.is_file() else MetadataFolder(str(path))
        survey = replace(survey_of_splits(source.root, source.splits()), truth=truth)
    else:
        survey = survey_of_folder(path, truth)
    if not survey.images:
        raise UserError(f"{survey.root} has no images: put them into {survey.root}/CLASS/.")
    paths = [image.path for image in survey.images]
    gray = choose_gray_range([image.path for image in survey.images if image.split == "train"])
    read = partial(image_stats, gray_range=gray.gray_range)
    stats = progress(threaded_map(read, paths), "reading images", len(paths))
    survey = replace(survey, stats=list(stats), gray=gray.line)
    checks = sorted(available(Check).items())
    return Examination(survey, {name: list(check().findings(survey)) for name, check in checks})


def most_common(counts: dict[str, int]) -> str:
    """The most common values with their counts.

    >>> most_common({"RGB": 1200, "L": 3}), most_common({})
    ('1,200 RGB, 3 L', 'none')
    """
    listed = [f"{count:,} {name}" for name, count in list(counts.items())[:MAX_LISTED]]
    rest = len(counts) - len(listed)
    return ", ".join(listed + [f"{rest} others"] * (rest > 0)) or "none"
