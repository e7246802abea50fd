"""Files whose name says another format than their content."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from vision_attn.data.checks.base import Check, Finding, Severity, number
from vision_attn.data.checks.survey import Survey
from vision_attn.data.io.image import is_readable

ALIKE = {"MPO": "JPEG"}  # photographs of phones: JPEG with a second picture
PROBED = 1_000  # foreign files opened, at most


class Endings(Check):
    """Wrong endings: told for images that are read, and for those that are missed for it."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Images under another format's name; images under a name that is none of an image."""
        named = Image.registered_extensions()
        items = [
            f"{survey.name(index)}: is {found.format}"
            for index, found in enumerate(survey.stats)
            if found.format
            and named.get(Path(survey.images[index].path).suffix.lower())
            != ALIKE.get(found.format, found.format)
        ]
        if items:
            yield Finding(
                Severity.NOTE,
                f"{number(len(items), 'image')} with the ending of another format",
                "They are read by their content; rename them for other programs.",
                items,
            )
        missed = [path for path in survey.layout.foreign[:PROBED] if is_readable(path)]
        if missed:
            yield Finding(
                Severity.WRONG,
                f"{number(len(missed), 'image')} without the ending of an image",
                "Rename them to .jpg or .png: as they are called, training passes them over.",
                [survey.short(path) for path in missed],
            )
