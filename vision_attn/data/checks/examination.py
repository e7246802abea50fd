"""Examine a set of images: read all of them, run every check, and put the findings into words."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vision_attn.core import atomic
from vision_attn.core.errors import UserError
from vision_attn.core.parallel import threaded_map
from vision_attn.core.progress import progress
from vision_attn.core.registry import available
from vision_attn.data.checks.base import Check, Finding, Severity
from vision_attn.data.checks.image_stats import image_stats
from vision_attn.data.checks.scan import survey_of_folder, survey_of_splits
from vision_attn.data.checks.survey import Survey
from vision_attn.data.sources.image_table import ImageTable

NAMED = 3  # files named with each finding on the screen; the JSON file names all
COMMON = 4  # sizes, modes and formats that are listed


@dataclass(frozen=True)
class Examination:
    """What is known of a set of images, and what the checks found.

    Attributes:
        survey: the images and what was read of each.
        findings: by the name of the check.
    """

    survey: Survey
    findings: dict[str, list[Finding]]

    @property
    def exit_code(self) -> int:
        """1 if training or its scores would suffer, else 0."""
        return int(any(finding.severity > Severity.NOTE for finding in self.all_findings()))

    def all_findings(self) -> list[Finding]:
        """The findings of all checks, the worst first."""
        every = [finding for found in self.findings.values() for finding in found]
        return sorted(every, key=lambda finding: -finding.severity)

    def facts(self) -> dict[str, Any]:
        """Counts, sizes, modes and formats."""
        read = [stats for stats in self.survey.stats if not stats.problem]
        sizes = Counter(f"{stats.size[0]}x{stats.size[1]}" for stats in read)
        return {
            "images": len(self.survey.images),
            "classes": {
                split: dict(sorted(found.items())) for split, found in self.survey.counts.items()
            },
            "sizes": dict(sizes.most_common()),
            "modes": dict(Counter(stats.mode for stats in read).most_common()),
            "formats": dict(Counter(stats.format for stats in read).most_common()),
            "gray": sum(stats.gray for stats in read),
        }

    def fact_lines(self, data: str) -> Iterator[str]:
        """A few lines on the images."""
        facts = self.facts()
        classes = {name for counts in facts["classes"].values() for name in counts}
        splits = ", ".join(f"{sum(c.values()):,} {name}" for name, c in facts["classes"].items())
        yield f"data      {data}: {splits} images of {len(classes)} classes"
        for split, counts in facts["classes"].items():
            least, most = min(counts.values()), max(counts.values())
            number = f"{least}" if least == most else f"{least:,} to {most:,}"
            yield f"{split:<9} {number} images per class"
        yield f"sizes     {common(facts['sizes'])}"
        yield (
            f"stored as {common(facts['modes'])}; {common(facts['formats'])}; "
            f"{facts['gray']:,} grayscale"
        )

    def finding_lines(self) -> Iterator[str]:
        """Every finding with a few examples, and how many there are."""
        findings = self.all_findings()
        for found in findings:
            yield f"{'note' if found.severity == Severity.NOTE else 'WRONG':<9} {found.what}"
            yield from (f"{'':9}   {item}" for item in found.items[:NAMED])
            if len(found.items) > NAMED:
                yield f"{'':9}   and {len(found.items) - NAMED:,} more"
            yield f"{'':9} -> {found.advice}"
        wrong = sum(found.severity > Severity.NOTE for found in findings)
        counts = f"{wrong} wrong, {len(findings) - wrong} to note"
        yield f"found     {counts if findings else 'no problems'}"

    def write_json(self, path: Path, data: str) -> None:
        """Write everything that was found, for other programs.

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
    """Read every image of a folder or table, and run every check.

    Args:
        path: a folder of images, or a table.
        root: the folder that a table's paths start from; None takes the table's own.
        truth: where the objects are: boxes.csv, or a folder of masks.

    Raises:
        UserError: there are no images.
    """
    if path.is_file():
        source = ImageTable(str(path), root=root)
        survey = replace(survey_of_splits(source.root, source.splits()), truth=truth)
    else:
        survey = survey_of_folder(path, truth)
    if not survey.images:
        raise UserError(f"{survey.root} has no images: put some into {survey.root}/CLASS/.")
    paths = [image.path for image in survey.images]
    stats = progress(threaded_map(image_stats, paths), "reading images", len(paths))
    survey = replace(survey, stats=list(stats))
    checks = sorted(available(Check).items())
    return Examination(survey, {name: list(check().findings(survey)) for name, check in checks})


def common(counts: dict[str, int]) -> str:
    """The most common of what was counted.

    >>> common({"RGB": 1200, "L": 3}), common({})
    ('1,200 RGB, 3 L', 'none')
    """
    listed = [f"{count:,} {name}" for name, count in list(counts.items())[:COMMON]]
    rest = len(counts) - len(listed)
    return ", ".join(listed + [f"{rest} others"] * (rest > 0)) or "none"
