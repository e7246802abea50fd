"""Shared by `validate` and `test`: score a run on one split and print the scores."""

from vision_attn.cli.arguments import ArgumentParser
from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say
from vision_attn.training.overrides import options_in

EPILOG = """settings, as for fit: --batch_size N, --trainer.accelerator cpu, ...

All images of a folder without splits (DIR/CLASS/*.jpg) are scored.
"""


def score_command(argv: list[str], command: str, stage: str) -> int:
    """Score a run on `stage` ("val" or "test") and print the scores."""
    parser = ArgumentParser(command, f"Score a run on its {stage} images.", EPILOG)
    parser.add_run()
    parser.add_argument("--data", metavar="DIR_OR_NAME", help="other images than the run's own")
    options, rest = parser.parse_known_args(argv)
    settings = list(options_in(rest))
    if any(name.startswith("model.") for name, _ in settings):
        raise UserError(f"{command} scores the model as it is; model settings are for fit.")

    from vision_attn.training.score import score

    found = score(options.run, stage, options.data, settings, options.trust)
    if not found.is_first_process:
        return 0
    say(f"{stage} images {found.images}")
    for name, value in found.values.items():
        say(f"{name} {value:.4f}")
    return 0
