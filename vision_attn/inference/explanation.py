"""Where a model looked in one image file, and what each place argued for."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from vision_attn.core.atomic import write_whole
from vision_attn.data.io.object_masks import ReadTruth
from vision_attn.inference.prediction import Prediction
from vision_attn.pooling.base import Window

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOP = 5  # predicted classes on a sheet
SHOWN = 1024  # pixels a side; a sheet shows no more


@dataclass(frozen=True)
class TargetMap:
    """A heatmap and the class it speaks for.

    Attributes:
        title: what stands above it.
        values: (h, w), raw, as coarse or as fine as its method has them.
        signed: whether negative values speak against the class.
        target: the class.
        promised: what it should add up to; None if its method promises nothing.
        gap: how far it is from that, as a share of it.
        head: the head whose attention it is, from 0.
    """

    title: str
    values: Tensor
    signed: bool
    target: str
    promised: float | None = None
    gap: float | None = None
    head: int | None = None


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
        windows: what local heads looked through, if that was asked for.
    """

    prediction: Prediction
    target: str = ""
    logit: float = math.nan
    bias: float = math.nan
    maps: dict[str, TargetMap] = field(default_factory=dict)
    windows: Sequence[Window] = ()

    @property
    def heatmaps(self) -> dict[str, Tensor]:
        """The values (h, w) of every map, by its name."""
        return {name: found.values for name, found in self.maps.items()}

    def figure(self, cells: bool = False, truth: ReadTruth | None = None) -> "Figure":
        """A sheet: the image, its predictions, and every map on the image.

        Args:
            cells: whether the borders of each map's cells are drawn.
            truth: what tells where the object is, to be outlined.

        Raises:
            OSError: the file can't be read.
        """
        import numpy as np

        from vision_attn.data.io.image import open_image
        from vision_attn.visualization.overlay import Explained, Heatmap, sheet

        if self.prediction.error is not None:
            raise OSError(self.prediction.error)
        path = self.prediction.path
        pixels = np.asarray(open_image(path, SHOWN))
        mask = None if truth is None else truth(path, *pixels.shape[:2]).numpy()
        heatmaps = [
            Heatmap(
                found.title,
                found.values,
                found.signed,
                cells,
                [window for window in self.windows if found.head in window.heads],
            )
            for found in self.maps.values()
        ]
        outline = mask if mask is not None and mask.any() else None
        top = self.prediction.top(TOP)
        explained = Explained(
            path.name, pixels, top, heatmaps, self.target, outline, list(self.windows)
        )
        return sheet([explained])

    def save(self, place: str | Path, cells: bool = False, truth: ReadTruth | None = None) -> None:
        """Write the sheet as a picture, whose kind is told by its ending: .png, .pdf, .svg.

        Raises:
            OSError: the image can't be read.
            UserError: the picture can't be written.
        """
        figure, place = self.figure(cells, truth), Path(place)
        kind = place.suffix.removeprefix(".") or "png"
        write_whole(place, lambda temporary: figure.savefig(temporary, format=kind))

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows; nothing but the fields for a file that could not be read."""
        if self.prediction.error is not None:
            return None
        picture = io.BytesIO()
        self.figure().savefig(picture, format="png")
        return picture.getvalue()
