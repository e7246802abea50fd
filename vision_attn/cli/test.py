"""`vision-attn test`: score a run on its test images, or on other images."""

from vision_attn.cli.score import score_command


def run(argv: list[str]) -> int:
    """Score the test split."""
    return score_command(argv, "test", "test")
