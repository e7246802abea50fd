"""One line on a model: backbone, pooling, parameters and feature grid."""

from vision_attn.models.classifier import AttentionClassifier


def describe_model(model: AttentionClassifier, image_size: int, pooling: str) -> str:
    """One line on a model, for images of a size; `pooling` is the pooling's name."""
    backbone = model.backbone
    height, width = backbone.grid(image_size)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    notes = ""
    if backbone.removed_strides:
        notes += f" (first {backbone.removed_strides} strides removed)"
    if backbone.stride is not None and backbone.stride < backbone.strides[-1]:
        notes += (
            f" (nothing beyond stride {backbone.stride}; the whole backbone: "
            f"--model.stride {backbone.strides[-1]})"
        )
    return (
        f"{backbone.name} with {pooling} pooling, {millions:.2f} M parameters; "
        f"feature grid {height}x{width}{notes}"
    )
