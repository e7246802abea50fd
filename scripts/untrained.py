"""A run folder with an untrained model, for scripts that measure how files are read."""

from pathlib import Path

from vision_attn.core.registry import available
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Pooling
from vision_attn.runs.folder import ModelSpec, RunFolder

TINY = {"channels": [8, 8, 16, 16]}  # a ResNet that costs less than reading a file


def untrained_run(place: Path, backbone: str, image_size: int, classes: int = 10) -> Path:
    """Write the model of a run as `fit` would, with the weights it starts from.

    Args:
        place: the run folder.
        backbone: timm's name, or "tiny".
        image_size: pixels a side that images are brought to.
        classes: how many.
    """
    backbone, options = ("resnet10t", TINY) if backbone == "tiny" else (backbone, {})
    network = Backbone(backbone, options=options)
    network.refine(image_size, 2)
    model = AttentionClassifier(network, available(Pooling)["global_attention"], classes)
    spec = ModelSpec(
        backbone=backbone,
        backbone_options=options,
        stride=None,
        removed_strides=network.removed_strides,
        pooling={
            "class_path": "global_attention",
            "init_args": {},
        },
        class_names=[f"class {k}" for k in range(classes)],
        image_size=image_size,
        mean=network.mean.flatten().tolist(),
        std=network.std.flatten().tolist(),
    )
    RunFolder(place).save_model(model.eval(), spec)
    return place
