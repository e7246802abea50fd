"""Check for files and folders that training skips or mistakes for a class."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vision_attn.data.checks.base import Check, Finding, Severity, count_noun
from vision_attn.data.checks.survey import Survey


class FolderLayout(Check):
    """Stray, hidden and non-image files, empty class folders, and masks among the classes."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield one finding per kind."""
        layout = survey.layout
        suffixes = Counter(
            Path(path).suffix.lower() or "without extension" for path in layout.foreign
        )
        counts = ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common(5))
        kinds = (
            (
                Severity.WORST,
                layout.mask_folders,
                f"{count_noun(len(layout.mask_folders), 'mask folder')} among the class folders",
                "Training reads each as a class: move them out of the folder.",
            ),
            (
                Severity.WORST,
                layout.unclear,
                "is `train` a class like the folders beside it, or the training images?",
                "Say it to fit: --data.source.split_folders false or true. Here it is the latter.",
            ),
            (
                Severity.WORST,
                layout.empty,
                f"{count_noun(len(layout.empty), 'class folder')} without an image",
                "Add images or remove the folder.",
            ),
            (
                Severity.WRONG,
                layout.stray,
                f"{count_noun(len(layout.stray), 'image')} outside the class folders",
                "Move them into class folders: they are not read where they are.",
            ),
            (
                Severity.NOTE,
                layout.unread,
                f"{count_noun(len(layout.unread), 'folder')} beside train, val and test",
                "They are not read.",
            ),
            (
                Severity.NOTE,
                layout.foreign,
                f"{count_noun(len(layout.foreign), 'file')} without an image extension ({counts})",
                "They are skipped.",
            ),
            (
                Severity.WRONG,
                layout.linked,
                f"{count_noun(len(layout.linked), 'linked folder')} inside class folders",
                "They are not read without --data.source.follow_links true.",
            ),
            (
                Severity.NOTE,
                layout.ours,
                f"{count_noun(len(layout.ours), 'folder')} that vision-attn wrote",
                "They are skipped.",
            ),
            (
                Severity.NOTE,
                layout.hidden,
                f"{count_noun(len(layout.hidden), 'hidden path')}",
                "They are skipped.",
            ),
        )
        for severity, paths, what, advice in kinds:
            if paths:
                yield Finding(severity, what, advice, [survey.short(path) for path in paths])
        if layout.guessed_truth:
            folder = survey.short(layout.guessed_truth)
            yield Finding(
                Severity.NOTE,
                f"the folder {folder} is taken for masks of the objects, by its name",
                f"They score heatmaps: vision-attn evaluate RUN --truth {layout.guessed_truth}",
            )
        if layout.inner:
            yield Finding(
                Severity.NOTE,
                f"images and masks are in folders side by side; {layout.inner} was checked",
                f"Train with --data {layout.inner}, evaluate with --truth {survey.truth}.",
            )
