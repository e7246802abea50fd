"""Images that look the same though their files differ."""

from collections.abc import Iterator

import numpy as np

from vision_attn.data.checks.base import Check, Finding, Severity, number
from vision_attn.data.checks.image_stats import SIDE
from vision_attn.data.checks.perceptual_hash import groups_of_alike
from vision_attn.data.checks.survey import Survey

TOLD = {
    "class": (
        Severity.WRONG,
        "across classes",
        "Look at them: one of the labels is wrong, or the classes are hard to tell apart.",
    ),
    "split": (
        Severity.WRONG,
        "across splits",
        "Look at them: the scores are too good if they show the same thing.",
    ),
    "": (
        Severity.NOTE,
        "within a class and split",
        "A random split puts some on either side, and scores are too good for it: a table "
        "(--data table.csv) can name splits.",
    ),
}


class NearDuplicates(Check):
    """Re-encoded, resized, brightened copies, and shots of one scene."""

    def findings(self, survey: Survey) -> Iterator[Finding]:
        """A finding for each kind of place that they are in."""
        copies = {index for group in survey.copies for index in group[1:]}
        chosen = [
            index
            for index, found in enumerate(survey.stats)
            if found.thumbnail and not found.single_color and index not in copies
        ]
        pixels = b"".join(survey.stats[index].thumbnail for index in chosen)
        thumbnails = np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)
        groups = [[chosen[place] for place in group] for group in groups_of_alike(thumbnails)]
        for apart, (severity, where, advice) in TOLD.items():
            inside = [group for group in groups if survey.apart(group) == apart]
            if inside:
                items = [" ~ ".join(survey.name(index) for index in group) for group in inside]
                what = f"{number(len(inside), 'group')} of images that look the same {where}"
                yield Finding(severity, what, advice, items)
