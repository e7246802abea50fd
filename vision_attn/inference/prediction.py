"""Prediction: the probabilities of all classes for one image."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from vision_attn.data.io.gray_range import GrayRange


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image, or the reason why it could not be read.

    Attributes:
        path: the image file; `image-1`, `image-2` and so on for images in memory.
        class_name: the predicted class; empty if the image could not be read.
        probability: the probability of that class; NaN if the image could not be read.
        probabilities: the probability of every class, in the order of the model's classes.
        error: why the image could not be read, in one line that names it; None if it was read.
        image: an image in memory; None if it is a file.
        gray_range: which values the model takes as black and white in grayscale of more than 8
            bits; None if it knows of none.
    """

    path: Path
    class_name: str = ""
    probability: float = math.nan
    probabilities: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    image: Image.Image | None = field(default=None, repr=False, compare=False)
    gray_range: GrayRange | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        path: Path,
        class_names: list[str],
        probabilities: list[float],
        image: Image.Image | None = None,
        gray_range: GrayRange | None = None,
    ) -> "Prediction":
        """The prediction for an image from the probabilities of all classes.

        >>> Prediction.of(Path("a.jpg"), ["cat", "dog"], [0.25, 0.75]).class_name
        'dog'
        """
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        named = dict(zip(class_names, probabilities, strict=True))
        return cls(path, class_names[best], probabilities[best], named, None, image, gray_range)

    @property
    def source(self) -> Path | Image.Image:
        """What the image can be read from again."""
        return self.path if self.image is None else self.image

    def top(self, count: int) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities.

        >>> Prediction.of(Path("a.jpg"), ["cat", "dog", "fox"], [0.25, 0.5, 0.25]).top(2)
        [('dog', 0.5), ('cat', 0.25)]
        """
        return sorted(self.probabilities.items(), key=lambda entry: -entry[1])[:count]
