"""The surest mistakes and the surest right answers, with the evidence on their pixels."""

import base64
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vision_attn.core.heatmap import Heatmap
from vision_attn.data.io.image import to_unit_range
from vision_attn.evaluation.report.predictions import SplitPredictions
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.visualization.overlay import blend, vmax

MISTAKES = 12
RIGHT = 8
OF_A_KIND = 2  # mistakes of one class for the same other
DIFFERENCE = "difference"
SIDE, LARGEST = 208, 320  # pixels of a picture
QUALITY = 80  # of WebP


@dataclass(frozen=True)
class Picture:
    """One picture of an example.

    Attributes:
        source: a data URI.
        title: what it shows.
        alt: the same for who cannot see it.
    """

    source: str
    title: str
    alt: str


@dataclass(frozen=True)
class Example:
    """One image, what the model said of it, and why.

    Attributes:
        name: the image's.
        said: the likeliest class.
        sureness: its probability.
        truth: the true class.
        chance: the true class's probability.
        pictures: the image, then its evidence.
    """

    name: str
    said: str
    confidence: float
    truth: str
    chance: float
    pictures: list[Picture]


def most_confident_mistakes(predictions: SplitPredictions) -> list[int]:
    """Places (in the outcome) of mistakes, the surest first, few of the same kind."""
    kinds: Counter[tuple[int, int]] = Counter()
    chosen = []
    for place in predictions.confidence.argsort(descending=True, stable=True).tolist():
        kind = (int(predictions.targets[place]), int(predictions.predicted[place]))
        if kind[0] != kind[1] and kinds[kind] < OF_A_KIND:
            kinds[kind] += 1
            chosen.append(place)
    return chosen[:MISTAKES]


def most_confident_correct(predictions: SplitPredictions) -> list[int]:
    """Places (in the outcome) of right answers, the surest of each class, the surest first."""
    chosen: dict[int, int] = {}
    for place in predictions.confidence.argsort(descending=True, stable=True).tolist():
        if predictions.correct[place]:
            chosen.setdefault(int(predictions.targets[place]), place)
    return list(chosen.values())[:RIGHT]


def examples(
    model: AttentionClassifier, predictions: SplitPredictions, chosen: list[int], size: int
) -> list[Example]:
    """Examples with their pictures.

    Args:
        model: in eval mode.
        predictions: its predictions.
        chosen: their places among the predictions.
        size: pixels a side that the model takes images at.
    """
    return [example(model, predictions, place, size) for place in chosen]


def example(
    model: AttentionClassifier, predictions: SplitPredictions, place: int, size: int
) -> Example:
    """One example: the image, the evidence for what was said, and if that is wrong, for the truth.

    The maps of an example share one scale, so that they can be compared.
    """
    where = int(predictions.places[place])
    said, truth = int(predictions.predicted[place]), int(predictions.targets[place])
    evidence = evidence_of(model, predictions.split.read(where, size))
    pixels = predictions.split.read(where, min(max(size, SIDE), LARGEST)).permute(1, 2, 0).numpy()
    name, names = short(predictions.split.names[where]), predictions.class_names
    maps = {f"for {names[said]}": evidence[said]}
    if said != truth:
        maps[f"for {names[truth]}"] = evidence[truth]
        maps[DIFFERENCE] = evidence[said] - evidence[truth]
    drawn = {title: Heatmap(title, values, signed=True) for title, values in maps.items()}
    scale = max(vmax(heatmap) for heatmap in drawn.values())
    pictures = [Picture(webp(pixels), "image", f"{name}, a {names[truth]}")]
    for title, heatmap in drawn.items():
        total = f"{float(heatmap.values.sum()):+.1f}"
        if title == DIFFERENCE:
            bias = model.head.bias.detach()
            total += of_biases(float(bias[said] - bias[truth]))
        alt = f"evidence, {title}, on {name}: {total} in all"
        pictures.append(Picture(webp(blend(pixels, heatmap, scale)), f"{title}: {total}", alt))
    return Example(
        name,
        names[said],
        float(predictions.probabilities[place, said]),
        names[truth],
        float(predictions.probabilities[place, truth]),
        pictures,
    )


def of_biases(difference: float) -> str:
    """What biases add to the difference of two classes, where that can be seen.

    >>> of_biases(0.21), of_biases(-0.01)
    (', of the biases +0.2', '')
    """
    return f", of the biases {difference:+.1f}" if abs(difference) >= 0.05 else ""


@torch.no_grad()
def evidence_of(model: AttentionClassifier, image: Tensor) -> Tensor:
    """Evidence (K, h, w) for each class in one image (3, H, W) of bytes."""
    device = model.backbone.mean.device
    return model.evidence(to_unit_range(image[None].to(device)))[0].cpu()


def webp(pixels: NDArray[np.uint8]) -> str:
    """Pixels as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def short(name: str) -> str:
    """The end of a path, with the folder that the file is in.

    >>> short("/home/me/photos/test/cat/001.jpg"), short("shapes test 7")
    ('cat/001.jpg', 'shapes test 7')
    """
    return "/".join(PurePath(name).parts[-2:])
