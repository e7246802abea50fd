"""The page of a published model: what it is, how to use it, what it was trained on and scored."""

import json
from pathlib import Path
from typing import Any

from vision_attn.core.version import __version__
from vision_attn.runs.folder import ModelCard, RunFolder
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
from vision_attn.export.hub_model import PublishedClassifier

model = PublishedClassifier.from_pretrained("{name}")
names, size = model.described.class_names, model.described.image_size
images = read_image("photo.jpg", size).unsqueeze(0) / 255   # RGB in [0, 1], normalised inside
with torch.no_grad():
    (chances,) = model.chances(model(images))
    (evidence,) = model.evidence(images)                    # (classes, h, w)
best = int(chances.argmax())
print(names[best], float(chances[best]))
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


def known_of(folder: RunFolder, card: ModelCard) -> dict[str, Any]:
    """What a run tells of its model, fit to be published: no path of the user's machine."""
    config = load_yaml(folder.config) if folder.config.is_file() else {}
    scores = json.loads(folder.metrics.read_text("utf-8")) if folder.metrics.is_file() else {}
    return {
        "architecture": card.backbone,
        "num_classes": len(card.class_names),
        "scores": scores,
        "data": chosen(config, DATA),
        "settings": chosen(config, SETTINGS),
    }


def chosen(config: dict[str, Any], keys: tuple[str, ...]) -> dict[str, str]:
    """Some settings of a configuration, by dotted key, as texts.

    >>> chosen({"model": {"loss": "cross_entropy"}, "data": {}}, ("model.loss", "data.flip"))
    {'model.loss': 'cross_entropy'}
    """
    found = {}
    for key in keys:
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            found[key] = told(value)
    return found


def told(value: Any) -> str:
    """A setting in a few words: a class by its name, a path by its last part.

    >>> told({"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "nesterov": False}})
    'SGD, lr 0.1'
    >>> told("/home/anna/beetles"), told(0.1)
    ('beetles', '0.1')
    """
    if isinstance(value, dict) and "class_path" in value:
        arguments = (value.get("init_args") or {}).items()
        name = str(value["class_path"]).split(".")[-1]
        return ", ".join(
            [name, *(f"{k} {told(v)}" for k, v in arguments if v not in (None, False))]
        )
    if isinstance(value, str) and ("/" in value or "\\" in value):
        return Path(value.replace("\\", "/")).name
    return str(value)


def page(card: ModelCard, known: dict[str, Any], name: str = "USER/NAME") -> str:
    """The page of a model, in the Markdown of the Hub.

    Args:
        card: what the model is.
        known: what `known_of` found.
        name: what the model is called on the Hub.
    """
    pooling = card.pooling["class_path"].rpartition(".")[2]
    named = card.class_names[:MOST_CLASSES]
    more = len(card.class_names) - len(named)
    scores = {
        key: "-" if score is None else f"{float(score):.4f}"  # one without a meaning
        for key, score in known.get("scores", {}).items()
    }
    return PAGE.format(
        title=name.split("/")[-1] if name != "USER/NAME" else f"{card.backbone}, {pooling}",
        backbone=card.backbone,
        pooling=pooling,
        count=len(card.class_names),
        size=card.image_size,
        version=__version__,
        probabilities="Each class has a probability of its own (sigmoid)."
        if card.independent
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
