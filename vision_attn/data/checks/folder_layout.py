"""What lies in the folders beside the images, and is passed over or taken for something else."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vision_attn.data.checks.base import Check, Finding, Severity, number
from vision_attn.data.checks.survey import Survey


class Arrangement(Check):
    """Stray, hidden and foreign files, empty class folders, and masks among the classes."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """A finding for each kind."""
        layout = survey.layout
        endings = Counter(Path(path).suffix.lower() or "no ending" for path in layout.foreign)
        kinds = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(5))
        told = (
            (
                Severity.WORST,
                layout.mask_folders,
                f"{number(len(layout.mask_folders), 'folder')} of masks among the class folders",
                "Training takes them for a class: move them out of the folder.",
            ),
            (
                Severity.WORST,
                layout.empty,
                f"{number(len(layout.empty), 'class folder')} without an image",
                "Add images or remove the folder.",
            ),
            (
                Severity.WRONG,
                layout.stray,
                f"{number(len(layout.stray), 'image')} outside the class folders",
                "Move them into class folders: where they are, nothing reads them.",
            ),
            (
                Severity.NOTE,
                layout.unread,
                f"{number(len(layout.unread), 'folder')} beside the train, val and test folders",
                "Nothing reads them there.",
            ),
            (
                Severity.NOTE,
                layout.foreign,
                f"{number(len(layout.foreign), 'file')} by other names than images have ({kinds})",
                "They are passed over.",
            ),
            (
                Severity.NOTE,
                layout.hidden,
                f"{number(len(layout.hidden), 'hidden path')}",
                "They are passed over.",
            ),
        )
        for severity, paths, what, advice in told:
            if paths:
                yield Finding(severity, what, advice, [survey.short(path) for path in paths])
        if layout.inner:
            yield Finding(
                Severity.NOTE,
                f"images and masks lie side by side; {layout.inner} was checked",
                f"Train with --data {layout.inner}, evaluate with --truth {survey.truth}.",
            )
