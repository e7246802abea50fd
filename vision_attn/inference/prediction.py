"""What a model makes of one image file."""

import math
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Prediction:
    """What a model makes of one image file, or why it could not be read.

    Attributes:
        path: the file.
        class_name: the likeliest class; empty if the file could not be read.
        probability: of that class; NaN if the file could not be read.
        probabilities: of every class, in the order of the model's classes.
        error: why the file could not be read, in a line that names it; None if it was.
    """

    path: Path
    class_name: str = ""
    probability: float = math.nan
    probabilities: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    @classmethod
    def of(cls, path: Path, class_names: list[str], chances: list[float]) -> "Prediction":
        """The prediction of an image that was read, by the probabilities of all classes.

        >>> Prediction.of(Path("a.jpg"), ["cat", "dog"], [0.25, 0.75]).class_name
        'dog'
        """
        best = max(range(len(chances)), key=chances.__getitem__)
        named = dict(zip(class_names, chances, strict=True))
        return cls(path, class_names[best], chances[best], named)

    def top(self, count: int) -> list[tuple[str, float]]:
        """The likeliest classes and their probabilities, best first.

        >>> Prediction.of(Path("a.jpg"), ["cat", "dog", "fox"], [0.25, 0.5, 0.25]).top(2)
        [('dog', 0.5), ('cat', 0.25)]
        """
        return sorted(self.probabilities.items(), key=lambda entry: -entry[1])[:count]
