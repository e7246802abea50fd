"""`vision-attn validate`: score a run on its validation images."""

from vision_attn.cli.score import score_command


def run(argv: list[str]) -> int:
    """Score the validation split."""
    return score_command(argv, "validate", "val")
