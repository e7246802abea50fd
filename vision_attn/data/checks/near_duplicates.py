"""Check for near-duplicates: different files that look the same."""

from collections.abc import Iterator

import numpy as np

from vision_attn.data.checks.base import Check, Finding, Severity, count_noun
from vision_attn.data.checks.image_stats import SIDE
from vision_attn.data.checks.perceptual_hash import groups_of_alike
from vision_attn.data.checks.survey import Survey

# By what differs between the images: the class, the split, or neither.
KINDS = {
    "class": (
        Severity.WRONG,
        "across classes",
        "Look at them: one of the labels is wrong, or the classes are hard to tell apart.",
    ),
    "split": (
        Severity.WRONG,
        "across splits",
        "Look at them: if they show the same thing, this leakage makes the scores too high.",
    ),
    "": (
        Severity.NOTE,
        "within a class and split",
        "A random split would put such images on both sides, which makes scores too high; `fit` "
        "keeps each group in one split.",
    ),
}


class NearDuplicates(Check):
    """Re-encoded, resized or brightened copies, and several shots of one scene."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """Yield one finding per kind: across classes, across splits, within a class and split."""
        copies = {index for group in survey.copies for index in group[1:]}
        chosen = [
            index
            for index, stats in enumerate(survey.stats)
            if stats.thumbnail and not stats.single_color and index not in copies
        ]
        pixels = b"".join(survey.stats[index].thumbnail for index in chosen)
        thumbnails = np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)
        groups = [[chosen[k] for k in group] for group in groups_of_alike(thumbnails)]
        for kind, (severity, where, advice) in KINDS.items():
            matching = [group for group in groups if survey.what_differs(group) == kind]
            if matching:
                items = [" ~ ".join(survey.name(index) for index in group) for group in matching]
                what = f"{count_noun(len(matching), 'group')} of images that look the same {where}"
                yield Finding(severity, what, advice, items)
