"""Examples of the report: most confident mistakes and correct predictions, with evidence maps."""

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
from vision_attn.evaluation.report.data_uri import data_uri
from vision_attn.evaluation.report.predictions import SplitPredictions
from vision_attn.models.classifier import AttentionClassifier
from vision_attn.visualization.overlay import blend, vmax

MAX_MISTAKES = 10
MAX_CORRECT = 8
MAX_UNSURE = 4
MAX_PER_PAIR = 2  # mistakes with the same true class and the same predicted class
DIFFERENCE = "difference"
MIN_SIDE, MAX_SIDE = 208, 320  # pixels per side of a picture
WEBP_QUALITY = 80


@dataclass(frozen=True)
class Picture:
    """One picture of an example.

    Attributes:
        source: a data URI.
        title: what it shows.
        alt: a text description for screen readers.
    """

    source: str
    title: str
    alt: str


@dataclass(frozen=True)
class Example:
    """One image with its prediction and the evidence for it.

    Attributes:
        name: of the image.
        predicted: the predicted class.
        confidence: the probability of the predicted class.
        true_class: the true class.
        true_probability: the probability of the true class.
        pictures: the image, then its evidence maps.
    """

    name: str
    predicted: str
    confidence: float
    true_class: str
    true_probability: float
    pictures: list[Picture]


def most_confident_mistakes(predictions: SplitPredictions) -> list[int]:
    """Indices of the most confident mistakes, with few of each pair of classes."""
    pairs: Counter[tuple[int, int]] = Counter()
    chosen = []
    for index in predictions.confidence.argsort(descending=True, stable=True).tolist():
        pair = (int(predictions.targets[index]), int(predictions.predicted[index]))
        if pair[0] != pair[1] and pairs[pair] < MAX_PER_PAIR:
            pairs[pair] += 1
            chosen.append(index)
    return chosen[:MAX_MISTAKES]


def most_confident_correct(predictions: SplitPredictions) -> list[int]:
    """Indices of correct predictions: the most confident of each class, in descending order."""
    chosen: dict[int, int] = {}
    for index in predictions.confidence.argsort(descending=True, stable=True).tolist():
        if predictions.correct[index]:
            chosen.setdefault(int(predictions.targets[index]), index)
    return list(chosen.values())[:MAX_CORRECT]


def least_confident_correct(predictions: SplitPredictions) -> list[int]:
    """Indices of the correct predictions with the lowest confidence, in ascending order."""
    order = predictions.confidence.argsort(stable=True).tolist()
    return [index for index in order if predictions.correct[index]][:MAX_UNSURE]


def examples(
    model: AttentionClassifier, predictions: SplitPredictions, indices: list[int], size: int
) -> list[Example]:
    """Create examples with their pictures.

    Args:
        model: in eval mode.
        predictions: its predictions.
        indices: of the examples, among the predictions.
        size: pixels per side of the input of the model.
    """
    return [example(model, predictions, index, size) for index in indices]


def example(
    model: AttentionClassifier, predictions: SplitPredictions, index: int, size: int
) -> Example:
    """Create one example: the image, and the evidence for its predicted class.

    For a mistake, the evidence for the true class and the difference of the two are added. The maps
    of an example share one color scale, so that they can be compared.
    """
    split_index = int(predictions.indices[index])
    predicted, true_class = int(predictions.predicted[index]), int(predictions.targets[index])
    evidence = evidence_of(model, predictions.split.read(split_index, size))
    side = min(max(size, MIN_SIDE), MAX_SIDE)
    pixels = predictions.split.read(split_index, side).permute(1, 2, 0).numpy()
    name, names = short_name(predictions.split.names[split_index]), predictions.class_names
    maps = {f"for {names[predicted]}": evidence[predicted]}
    if predicted != true_class:
        maps[f"for {names[true_class]}"] = evidence[true_class]
        maps[DIFFERENCE] = evidence[predicted] - evidence[true_class]
    heatmaps = {title: Heatmap(title, values, signed=True) for title, values in maps.items()}
    scale = max(vmax(heatmap) for heatmap in heatmaps.values())
    pictures = [Picture(webp_uri(pixels), "image", f"{name}, a {names[true_class]}")]
    for title, heatmap in heatmaps.items():
        total = f"{float(heatmap.values.sum()):+.1f}"
        if title == DIFFERENCE:
            bias = model.head.bias.detach()
            total += bias_text(float(bias[predicted] - bias[true_class]))
        alt = f"evidence map, {title}, on {name}: total {total}"
        picture = webp_uri(blend(pixels, heatmap, scale))
        pictures.append(Picture(picture, f"{title}: {total}", alt))
    return Example(
        name,
        names[predicted],
        float(predictions.probabilities[index, predicted]),
        names[true_class],
        float(predictions.probabilities[index, true_class]),
        pictures,
    )


def bias_text(difference: float) -> str:
    """Text for the difference of two biases; empty if it rounds to 0.

    >>> bias_text(0.21), bias_text(-0.01)
    (', bias +0.2', '')
    """
    return f", bias {difference:+.1f}" if abs(difference) >= 0.05 else ""


@torch.no_grad()
def evidence_of(model: AttentionClassifier, image: Tensor) -> Tensor:
    """Evidence maps (K, h, w) for every class, for one image (3, H, W) of type uint8."""
    device = model.backbone.mean.device
    return model.evidence(to_unit_range(image[None].to(device)))[0].cpu()


def webp_uri(pixels: NDArray[np.uint8]) -> str:
    """Pixels as a WebP data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=WEBP_QUALITY)
    return data_uri(buffer.getvalue(), "webp")


def short_name(name: str) -> str:
    """The file name with its parent folder only, which hides private folders.

    >>> short_name("/home/me/photos/test/cat/001.jpg"), short_name("shapes test 7")
    ('cat/001.jpg', 'shapes test 7')
    """
    return "/".join(PurePath(name).parts[-2:])
