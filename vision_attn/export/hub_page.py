"""The page of a published model: what it is, how to use it, what it was trained on and scored."""

import json
from collections.abc import Mapping
from typing import Any

from vision_attn.core.version import __version__
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.model_spec import ModelSpec
from vision_attn.runs.settings_summary import describe_value, value_at
from vision_attn.runs.yaml_file import load_yaml

MOST_CLASSES = 200  # named on the page; model.json has them all

PAGE = """---
library_name: vision-attn
pipeline_tag: image-classification
tags:
- image-classification
- vision-attn
- timm
- pytorch
- model_hub_mixin
- pytorch_model_hub_mixin
---

# {title}

An image classifier that shows where it looked: {backbone} of timm with {pooling} pooling, for
{count} classes and images of {size}x{size} pixels, trained with vision-attn {version}.
{probabilities}

## Use

```bash
pip install vision-attn
```

```python
import torch
from vision_attn.data.io.image import read_image
from vision_attn.export.hub_model import HubClassifier

model = HubClassifier.from_pretrained("{name}")
names, size = model.spec.class_names, model.spec.image_size
images = read_image("photo.jpg", size).unsqueeze(0) / 255   # RGB in [0, 1], normalised inside
with torch.no_grad():
    (probabilities,) = model.probabilities(model(images))
    (evidence,) = model.evidence(images)                    # (classes, h, w)
best = int(probabilities.argmax())
print(names[best], float(probabilities[best]))
print(evidence[best])                                       # what each place argues for it
```

Each logit is exactly the sum of what each place contributed: `evidence.sum((-2, -1)) +
model.head.bias` is the image's row of `model(images)`. A map says which place of the grid argued,
not which pixels that place had seen. `vision-attn explain FOLDER photo.jpg` draws the maps of a
downloaded folder.

## Scores

{scores}

## Data

{data}

## Settings

{settings}

## Classes

{classes}

## Licence

To be chosen by whoever publishes this model: a line `license: NAME` at the top of this file, with
a name from https://huggingface.co/docs/hub/repositories-licenses, in the place of this paragraph.
"""

DATA = ("data.source", "data.image_size", "data.val_fraction", "data.flip")
SETTINGS = (
    "model.pretrained",
    "model.loss",
    "model.label_smoothing",
    "model.optimizer",
    "model.freeze_epochs",
    "data.batch_size",
    "trainer.max_epochs",
    "trainer.precision",
    "seed_everything",
)


def known_of(folder: RunFolder, spec: ModelSpec) -> dict[str, Any]:
    """What a run tells of its model, fit to be published: no path of the user's machine."""
    config = load_yaml(folder.config) if folder.config.is_file() else {}
    scores = json.loads(folder.metrics.read_text("utf-8")) if folder.metrics.is_file() else {}
    return {
        "architecture": spec.backbone,
        "num_classes": len(spec.class_names),
        "scores": scores,
        "data": described(config, DATA),
        "settings": described(config, SETTINGS),
    }


def described(config: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    """Some settings by dotted name, as texts; those that are not set are left out.

    >>> described({"model": {"loss": "cross_entropy"}, "data": {}}, ("model.loss", "data.flip"))
    {'model.loss': 'cross_entropy'}
    """
    values = {name: value_at(config, name) for name in names}
    return {name: describe_value(value) for name, value in values.items() if value is not None}


def page(spec: ModelSpec, known: dict[str, Any], name: str = "USER/NAME") -> str:
    """The page of a model, in the Markdown of the Hub.

    Args:
        spec: what the model is.
        known: what `known_of` found.
        name: what the model is called on the Hub.
    """
    pooling = spec.pooling["class_path"].rpartition(".")[2]
    named = spec.class_names[:MOST_CLASSES]
    more = len(spec.class_names) - len(named)
    scores = {
        key: "-" if score is None else f"{float(score):.4f}"  # one without a meaning
        for key, score in known.get("scores", {}).items()
    }
    return PAGE.format(
        title=name.split("/")[-1] if name != "USER/NAME" else f"{spec.backbone}, {pooling}",
        backbone=spec.backbone,
        pooling=pooling,
        count=len(spec.class_names),
        size=spec.image_size,
        version=__version__,
        probabilities="Each class has a probability of its own (sigmoid)."
        if spec.activation == "sigmoid"
        else "Probabilities are shares among the classes (softmax).",
        name=name,
        scores=table("score", scores),
        data=table("of the data", known.get("data", {})),
        settings=table("setting", known.get("settings", {})),
        classes=", ".join(named) + (f" and {more} more" if more else ""),
    )


def table(title: str, rows: dict[str, str]) -> str:
    """Names and values as a Markdown table.

    >>> print(table("score", {"test/accuracy": "0.9100"}))
    | score | value |
    |---|---|
    | test/accuracy | 0.9100 |
    """
    if not rows:
        return "Not recorded."
    lines = [f"| {title} | value |", "|---|---|"]
    return "\n".join(lines + [f"| {key} | {value} |" for key, value in sorted(rows.items())])
