"""`vision-attn test`: score a run on its test images, or on other images."""

from vision_attn.training.restore import score


def run(words: list[str]) -> int:
    """Score the test split."""
    return score(words, "test", "test")
