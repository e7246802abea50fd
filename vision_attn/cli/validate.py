"""`vision-attn validate`: score a run on its validation images."""

from vision_attn.training.restore import score


def run(words: list[str]) -> int:
    """Score the validation split."""
    return score(words, "validate", "val")
