"""Check for file extensions that do not match the format of the content."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from vision_attn.data.checks.base import Check, Finding, Severity, count_noun
from vision_attn.data.checks.survey import Survey
from vision_attn.data.io.image import is_readable

SAME_EXTENSION = {"MPO": "JPEG"}  # photographs from phones: JPEG with a second picture
MAX_PROBED = 1_000  # files without an image extension that are opened, at most


class Extensions(Check):
    """Images with the extension of another format, and images without an image extension."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield a finding per kind; training reads the first kind and misses the second."""
        formats = Image.registered_extensions()
        items = [
            f"{survey.name(index)}: is {stats.format}"
            for index, stats in enumerate(survey.stats)
            if stats.format
            and formats.get(Path(survey.images[index].path).suffix.lower())
            != SAME_EXTENSION.get(stats.format, stats.format)
        ]
        if items:
            yield Finding(
                Severity.NOTE,
                f"{count_noun(len(items), 'image')} with the extension of another format",
                "They are read correctly all the same; rename them for other programs.",
                items,
            )
        missed = [path for path in survey.layout.foreign[:MAX_PROBED] if is_readable(path)]
        if missed:
            yield Finding(
                Severity.WRONG,
                f"{count_noun(len(missed), 'image')} without an image extension",
                "Rename them to .jpg or .png: training skips them under their current names.",
                [survey.short(path) for path in missed],
            )
