"""What a training says before it begins."""

from typing import Any

from vision_attn.data.checks.quick import trouble
from vision_attn.models.defaults import USUAL


def tell(cli: Any, resolved: dict[str, Any], weights: str) -> None:
    """Print what will be trained on what, with every automatic choice."""
    from vision_attn.data.leakage import leak

    data, trainer = cli.datamodule, cli.trainer
    print(f"data      {data.describe()}")
    if data.describe_balance():
        print(f"balance   {data.describe_balance()} (--data.balance true|false)")
    for line in filter(None, (*trouble(data), leak(data, "val"))):
        print(f"check     {line}")
    print(f"model     {describe_model(cli.model.model, data.image_size, resolved)}")
    if cli.given()["model"]["backbone"] is None:
        print(f"{'':9} {backbone_choice(cli.model.model.backbone.name)}")
    print(
        f"training  {trainer.max_epochs} epochs, batches of {data.batch_size}, {trainer.precision}"
    )
    for line in cli.told():
        print(f"{'':9} {line}")
    if weights:
        print(f"weights   {weights}")


def backbone_choice(name: str) -> str:
    """A line on a backbone that nobody named.

    >>> backbone_choice("resnet18")
    'the usual backbone (another: --model.backbone NAME)'
    """
    if name == USUAL:
        return "the usual backbone (another: --model.backbone NAME)"
    return f"a light backbone, to learn from scratch without a GPU (--model.backbone {USUAL})"


def describe_model(model: Any, image_size: int, resolved: dict[str, Any]) -> str:
    """One line on the model: backbone, size, grid, pooling."""
    backbone = model.backbone
    height, width = backbone.grid(image_size)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    pooling = resolved["model"]["pooling"]["class_path"].rpartition(".")[2]
    fine = f" (first {backbone.unstrided} strides left out)" if backbone.unstrided else ""
    if backbone.stride is not None and backbone.stride < backbone.strides[-1]:
        fine += f" (nothing beyond stride {backbone.stride}; the whole: --model.stride "
        fine += f"{backbone.strides[-1]})"
    return (
        f"{backbone.name} with {pooling} pooling, {millions:.2f} M parameters; "
        f"feature grid {height}x{width}{fine}"
    )
