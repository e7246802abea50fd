"""How the split was made, and how related its sides are: near duplicates across the split."""

from dataclasses import dataclass

from vision_attn.data.datamodule import ImageDataModule
from vision_attn.data.leakage import near_duplicate_pairs, warning_of
from vision_attn.evaluation.report.examples import short_name

MAX_LISTED = 20


@dataclass(frozen=True)
class SplitSummary:
    """How a split was made.

    Attributes:
        made: how, in a sentence.
        compared: whether its images were compared with the training images.
        pairs: held-out images and the training images that look the same, by name.
        images: number of distinct held-out images in these pairs.
        warning: the leakage warning; empty if there is none.
    """

    made: str
    compared: bool
    pairs: list[tuple[str, str]]
    images: int
    warning: str


def split_summary(data: ImageDataModule, stage: str) -> SplitSummary:
    """How the split of a stage ("val", "test") was made, and its near duplicates in training."""
    pairs = near_duplicate_pairs(data, stage)
    found = pairs or []
    count = len({held_out for held_out, _ in found})
    shown = [(short_name(one), short_name(other)) for one, other in found[:MAX_LISTED]]
    warning = warning_of(pairs, data, stage)
    return SplitSummary(how_it_was_made(data, stage), pairs is not None, shown, count, warning)


def how_it_was_made(data: ImageDataModule, stage: str) -> str:
    """Whether the split is the data's own, or how it was cut from the training images."""
    is_cut = stage in data.cut
    if not is_cut and getattr(data.source, "root", None) is not None:
        is_cut = stage not in data.source.splits()  # recorded splits do not tell
    if not is_cut:
        return (
            "The data has these images as a split of its own; which images are related "
            "(the same animal, patient or scene) is not known."
        )
    if data.group in (None, "none"):
        kept = "images that look the same were kept on one side" if data.group is None else ""
        kept = kept or "relations among images were not looked at (--data.group none)"
    else:
        kept = f"images of one group by '{data.group}' were kept on one side"
    return f"Cut from the training images at random, class by class (seed {data.seed}); {kept}."
