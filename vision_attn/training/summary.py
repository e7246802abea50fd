"""Print a summary of data, model and settings before training."""

from vision_attn.core.terminal import say
from vision_attn.data.checks.quick import quick_problems
from vision_attn.data.leakage import leakage_warning
from vision_attn.models.defaults import DEFAULT_BACKBONE, pretrained_backbones
from vision_attn.models.summary import describe_model
from vision_attn.training.config import Config
from vision_attn.training.lightning_cli import TrainingCLI
from vision_attn.training.starting_weights import StartingWeights


def print_summary(
    cli: TrainingCLI, resolved: Config, loaded: str, weights: StartingWeights
) -> None:
    """Print the data, the model and the training settings, with every automatic choice.

    Args:
        cli: task, data and trainer.
        resolved: all settings.
        loaded: which weights were loaded from another run or file.
        weights: the pretrained weights that a new run starts from.
    """
    data, trainer = cli.datamodule, cli.trainer
    say(f"data      {data.describe()}")
    if data.describe_balance():
        say(f"balance   {data.describe_balance()} (--data.balanced_sampling true|false)")
    if data.gray_line:
        say(f"gray      {data.gray_line}")
    if data.related:
        say(f"related   {data.related}")
    held_out = "val" if "val" in data.splits else "test"
    for line in filter(None, (*quick_problems(data), leakage_warning(data, held_out))):
        say(f"check     {line}")
    pooling = resolved["model"]["pooling"]["class_path"].rpartition(".")[2]
    say(f"model     {describe_model(cli.model.model, data.image_size, pooling)}")
    is_open = cli.given_config()["model"]["backbone"] is None
    if is_open or "model.backbone" in weights.chosen:
        say(f"{'':9} {backbone_choice(cli.model.model.backbone.name)}")
    say(f"training  {stages_line(cli)}{trainer.precision}")
    for line in cli.summary_lines():
        say(f"{'':9} {line}")
    for number, line in enumerate(filter(None, [loaded, *weights.notes])):
        say(f"{'' if number else 'weights':<9} {line}")


def backbone_choice(name: str) -> str:
    """A line on a backbone that was chosen automatically.

    >>> backbone_choice("resnet18")
    'the default backbone (another: --backbone NAME)'
    """
    if name in {DEFAULT_BACKBONE, *pretrained_backbones(True), *pretrained_backbones(False)}:
        return "the default backbone (another: --backbone NAME)"
    return f"a light backbone, to train from scratch without a GPU (--backbone {DEFAULT_BACKBONE})"


def batches(cli: TrainingCLI) -> str:
    """The batch size in words: of each process, and of all together."""
    size, processes = cli.datamodule.batch_size, cli.trainer.world_size
    if processes == 1:
        return f"batches of {size}"
    return f"batches of {size} in each of {processes} processes ({size * processes} per step)"


def stages_line(cli: TrainingCLI) -> str:
    """The stages of the training, for its line in the summary."""
    probe = "pooling and head on features of the frozen backbone" if cli.stages.probe else ""
    epochs = f"{cli.trainer.max_epochs} epochs, {batches(cli)}"
    tuning = f"{'then all layers: ' if probe else ''}{epochs}" if cli.stages.tune else ""
    return "".join(f"{part}, " for part in (probe, tuning) if part)
