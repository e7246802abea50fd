"""Model summary in one line: backbone, pooling, number of parameters and feature grid."""

from vision_attn.models.classifier import AttentionClassifier


def describe_model(model: AttentionClassifier, image_size: int, pooling: str) -> str:
    """One-line summary of a model for a given image size; `pooling` is the pooling's name."""
    backbone = model.backbone
    height, width = backbone.grid(image_size)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    notes = ""
    if backbone.removed_strides:
        notes += f" (first {backbone.removed_strides} strides removed)"
    if backbone.stride is not None and backbone.stride < backbone.strides[-1]:
        notes += (
            f" (cut at stride {backbone.stride}; for the whole backbone: "
            f"--model.stride {backbone.strides[-1]})"
        )
    return (
        f"{backbone.name} with {pooling} pooling, {millions:.2f} M parameters; "
        f"feature grid {height}x{width}{notes}"
    )
