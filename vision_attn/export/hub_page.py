"""The model card of a published model: what it is, how to use it, scores, data, settings."""

from collections.abc import Mapping
from typing import Any

from vision_attn.core.json_file import read_json
from vision_attn.core.terminal import printable
from vision_attn.core.version import __version__
from vision_attn.models.pretrained.license import WeightsRecord, is_non_commercial
from vision_attn.runs.folder import RunFolder
from vision_attn.runs.model_spec import ModelSpec
from vision_attn.runs.settings_summary import describe_value, value_at
from vision_attn.runs.yaml_file import load_yaml

MOST_CLASSES = 200  # that the page lists; model.json has all of them

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

An image classifier that shows where it looked: the timm backbone {backbone} with {pooling}
pooling, for {count} classes and images of {size}x{size} pixels, trained with vision-attn {version}.
{probabilities}

## Use

```bash
pip install vision-attn
```

```python
import torch
from vision_attn.data.io.gray_range import as_range
from vision_attn.data.io.image import read_image
from vision_attn.export.hub_model import HubClassifier

model = HubClassifier.from_pretrained("{name}")
names, size = model.spec.class_names, model.spec.image_size
image = read_image("photo.jpg", size, as_range(model.spec.gray_range))
images = image.unsqueeze(0) / 255                           # RGB in [0, 1]; the model normalizes
with torch.no_grad():
    (probabilities,) = model.probabilities(model(images))
    (evidence,) = model.evidence(images)                    # (classes, h, w)
best = int(probabilities.argmax())
print(names[best], float(probabilities[best]))
print(evidence[best])                                       # what each place contributes
```

Each logit is exactly the sum of what each place of the feature grid contributed, plus the bias:
`evidence.sum((-2, -1)) + model.head.bias` equals the image's row of `model(images)`. A map shows
which places contributed, not which pixels those places depend on. After downloading this folder,
`vision-attn explain FOLDER photo.jpg` draws the maps.

## Scores

{scores}

## Data

{data}

## Settings

{settings}

## Classes

{classes}

## License

{weights}
No license has been chosen yet. If you publish this model, add a line `license: NAME` at the top of
this file, with a name from https://huggingface.co/docs/hub/repositories-licenses, and delete this
paragraph.
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


def page_facts(folder: RunFolder, spec: ModelSpec) -> dict[str, Any]:
    """The scores and settings of a run for its model card, without paths of the user's machine."""
    config = load_yaml(folder.config) if folder.config.is_file() else {}
    scores = read_json(folder.metrics) if folder.metrics.is_file() else {}
    return {
        "architecture": spec.backbone,
        "num_classes": len(spec.class_names),
        "scores": scores,
        "data": setting_texts(config, DATA),
        "settings": setting_texts(config, SETTINGS),
    }


def setting_texts(config: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    """Selected settings by dotted name, as text; those that are not set are left out.

    >>> setting_texts({"model": {"loss": "cross_entropy"}, "data": {}}, ("model.loss", "data.flip"))
    {'model.loss': 'cross_entropy'}
    """
    values = {name: value_at(config, name) for name in names}
    return {name: describe_value(value) for name, value in values.items() if value is not None}


def page(spec: ModelSpec, facts: dict[str, Any], name: str = "USER/NAME") -> str:
    """The model card (README.md) in the Markdown of the Hugging Face Hub.

    Args:
        spec: the description of the model.
        facts: scores and settings from `page_facts`.
        name: the name of the model on the Hub.
    """
    pooling = spec.pooling["class_path"].rpartition(".")[2]
    named = spec.class_names[:MOST_CLASSES]
    more = len(spec.class_names) - len(named)
    scores = {
        key: f"{score:.4f}" if isinstance(score, float) else "-"  # undefined, or not a score
        for key, score in facts.get("scores", {}).items()
    }
    return PAGE.format(
        title=name.split("/")[-1] if name != "USER/NAME" else f"{spec.backbone}, {pooling}",
        backbone=spec.backbone,
        pooling=pooling,
        count=len(spec.class_names),
        size=spec.image_size,
        version=__version__,
        probabilities="Each class has its own probability, independent of the others (sigmoid)."
        if spec.activation == "sigmoid"
        else "The probabilities of all classes add up to 1 (softmax).",
        name=name,
        scores=table("score", scores),
        data=table("data setting", facts.get("data", {})),
        settings=table("setting", facts.get("settings", {})),
        classes=", ".join(named) + (f" and {more} more" if more else ""),
        weights=weights_paragraph(spec.weights),
    )


def weights_paragraph(record: WeightsRecord | None) -> str:
    """A paragraph on the weights that a model started from, with their license.

    >>> print(weights_paragraph(WeightsRecord("a.in1k", "timm's hub", "mit", "https://a.org")))
    Training started from the weights a.in1k (https://a.org), license: mit.
    <BLANKLINE>
    """
    if record is None:
        return ""
    name, origin, license_name = map(printable, (record.name, record.origin, record.license))
    told = f"Training started from the weights {name}{f' ({origin})' if origin else ''}"
    warning = " **It forbids commercial use.**" if is_non_commercial(license_name) else ""
    return f"{told}, license: {license_name or 'not known'}.{warning}\n"


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
