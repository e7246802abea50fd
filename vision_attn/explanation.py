"""Where a model looked in one image file, and what each place argued for."""

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vision_attn.catalog import choose
from vision_attn.errors import UserError, did_you_mean
from vision_attn.explainers.base import Explainer
from vision_attn.explainers.contrast import Contrast
from vision_attn.model import AttentionClassifier
from vision_attn.prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOP = 5  # predicted classes on a sheet
MOST_HEADS = 16  # max pooling has a head a channel
SHOWN = 1024  # pixels a side; a sheet shows no more


@dataclass(frozen=True)
class TargetMap:
    """A heatmap and the class it speaks for.

    Attributes:
        title: what stands above it.
        values: (h, w), raw, as coarse or as fine as its method has them.
        signed: whether negative values speak against the class.
        target: the class.
    """

    title: str
    values: Tensor
    signed: bool
    target: str


@dataclass(frozen=True)
class Explanation:
    """Where a model looked in one image file, and what each place argued for.

    In a notebook it shows itself as its sheet.

    Attributes:
        prediction: what the model made of the image; its `error` tells if it could not be read,
            and then there are no maps.
        target: the class that the maps speak for.
        logit: that class's.
        bias: that class's; the map `evidence` and it add up to the logit.
        maps: every map that was asked for, by its name.
    """

    prediction: Prediction
    target: str = ""
    logit: float = math.nan
    bias: float = math.nan
    maps: dict[str, TargetMap] = field(default_factory=dict)

    @property
    def heatmaps(self) -> dict[str, Tensor]:
        """The values (h, w) of every map, by its name."""
        return {name: found.values for name, found in self.maps.items()}

    def figure(self, cells: bool = False) -> "Figure":
        """A sheet: the image, its predictions, and every map on the image.

        Args:
            cells: whether the borders of each map's cells are drawn.

        Raises:
            OSError: the file can't be read.
        """
        import numpy as np

        from vision_attn.data.reader import open_image
        from vision_attn.overlay import Explained, Heatmap, sheet

        if self.prediction.error is not None:
            raise OSError(self.prediction.error)
        path = self.prediction.path
        pixels = np.asarray(open_image(path, SHOWN))
        heatmaps = [
            Heatmap(found.title, found.values, found.signed, cells) for found in self.maps.values()
        ]
        top = self.prediction.top(TOP)
        return sheet([Explained(path.name, pixels, top, heatmaps, self.target)])

    def save(self, place: str | Path, cells: bool = False) -> None:
        """Write the sheet as a picture, whose kind is told by its ending: .png, .pdf, .svg."""
        self.figure(cells).savefig(place)

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows; nothing but the fields for a file that could not be read."""
        if self.prediction.error is not None:
            return None
        picture = io.BytesIO()
        self.figure().savefig(picture, format="png")
        return picture.getvalue()


@dataclass(frozen=True)
class Wanted:
    """Which maps are made of each image.

    Attributes:
        explainers: by name.
        class_names: the model's.
        target: the index of the class to explain; None takes the predicted one.
        classes: how many of the likeliest classes have maps of their own, too.
        heads: whether there is a map of each head's attention.
    """

    explainers: Mapping[str, Explainer]
    class_names: list[str]
    target: int | None = None
    classes: int = 0
    heads: bool = False

    @classmethod
    def named(
        cls,
        class_names: list[str],
        explainers: str,
        target: str = "predicted",
        against: str | None = None,
        classes: int = 0,
        heads: bool = False,
    ) -> "Wanted":
        """As a person names them; see `TrainedModel.explain`.

        Raises:
            UserError: there is no such explainer or class, or a number is out of its range.
        """
        chosen = choose(Explainer, explainers, "--explainers")
        index = None if target == "predicted" else class_index(target, class_names, "--target")
        if against is not None:
            if against == "predicted":
                raise UserError("--against is the name of a class.")
            set_against(chosen, class_index(against, class_names, "--against"))
        if classes < 0:
            raise UserError(f"--classes is at least 0, not {classes}.")
        return cls(chosen, class_names, index, min(classes, len(class_names)), heads)

    def explain(
        self, model: AttentionClassifier, images: Tensor, predictions: list[Prediction]
    ) -> list[Explanation]:
        """Explanations of images (B, 3, H, W) in [0, 1], whose predictions are known."""
        with torch.no_grad():
            logits = model(images)
        targets = logits.argmax(1)
        if self.target is not None:
            targets = torch.full_like(targets, self.target)
        found = list(self.maps(model, images, logits, targets))
        explanations = []
        for place, prediction in enumerate(predictions):
            target = int(targets[place])
            explanations.append(
                Explanation(
                    prediction,
                    self.class_names[target],
                    float(logits[place, target]),
                    float(model.head.bias[target].detach()),
                    {
                        maps.name: self.one(maps, place)
                        for maps in found
                        if maps.adds(place, target)
                    },
                )
            )
        return explanations

    def one(self, maps: "Maps", place: int) -> TargetMap:
        """The map of one of the images."""
        target = self.class_names[int(maps.targets[place])]
        kind = maps.name.rpartition(".")[0]
        title = f"{kind}: {target}" if maps.ranked else maps.name.replace(".", " ")
        return TargetMap(title, maps.values[place].cpu(), maps.signed, target)

    def maps(
        self, model: AttentionClassifier, images: Tensor, logits: Tensor, targets: Tensor
    ) -> "Iterator[Maps]":
        """Every map that was asked for, of a few images."""
        for name, explainer in self.explainers.items():
            yield Maps(name, explainer.signed, explainer(model, images, targets), targets)
        best = logits.topk(self.classes).indices
        ranked = {
            name: explainer.for_targets(model, images, best)
            for name, explainer in self.explainers.items()
            if explainer.class_specific and self.classes
        }
        for rank in range(self.classes):
            for name, values in ranked.items():
                signed, target = self.explainers[name].signed, best[:, rank]
                yield Maps(f"{name}.{rank + 1}", signed, values[:, rank], target, ranked=True)
        if self.heads:
            weights = model.attend(images).weights.detach()
            for head in range(min(weights.shape[1], MOST_HEADS)):
                yield Maps(f"head.{head + 1}", False, weights[:, head], targets)


@dataclass(frozen=True)
class Maps:
    """Maps of one name, of a few images.

    Attributes:
        name: what they are called.
        signed: whether negative values speak against the class.
        values: (B, h, w).
        targets: (B,), the classes they speak for.
        ranked: whether these are the maps of a likely class, whichever that is in each image.
    """

    name: str
    signed: bool
    values: Tensor
    targets: Tensor
    ranked: bool = False

    def adds(self, place: int, target: int) -> bool:
        """Whether these show something that the target's maps do not."""
        return not self.ranked or int(self.targets[place]) != target


def set_against(explainers: Mapping[str, Explainer], against: int) -> None:
    """Let the contrasts among the explainers compare with a named class."""
    contrasts = [found for found in explainers.values() if isinstance(found, Contrast)]
    if not contrasts:
        raise UserError("--against belongs to contrast: --explainers contrast,evidence,...")
    for contrast in contrasts:
        contrast.against = against


def class_index(name: str, class_names: list[str], option: str) -> int:
    """The index of a class."""
    if name not in class_names:
        hint = did_you_mean(name, class_names)
        raise UserError(f"{option}: the model has no class '{name}'.{hint}")
    return class_names.index(name)
