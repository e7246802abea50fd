"""Make a run folder with an untrained model, for benchmarks of file reading."""

from pathlib import Path

from vision_attn.core.registry import available
from vision_attn.models.backbone import Backbone
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.pooling.base import Pooling
from vision_attn.runs.folder import ModelSpec, RunFolder

TINY = {"channels": [8, 8, 16, 16]}  # a ResNet that is faster than reading a file


def untrained_run(path: Path, backbone: str, image_size: int, classes: int = 10) -> Path:
    """Write a run folder like `fit` does, with randomly initialized weights.

    Args:
        path: the run folder.
        backbone: a name of timm, or "tiny".
        image_size: height and width in pixels that images are resized to.
        classes: the number of classes.
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
    RunFolder(path).save_model(model.eval(), spec)
    return path
