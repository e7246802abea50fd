"""Explanation: the prediction for one image with its heatmaps, drawn as a sheet."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vision_attn.core.atomic import atomic_write
from vision_attn.core.heatmap import Heatmap
from vision_attn.data.io.object_masks import ReadMask
from vision_attn.data.io.prefetch import full_size
from vision_attn.inference.prediction import Prediction
from vision_attn.inference.verification import VerifiedCell, describe
from vision_attn.pooling.base import Window

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vision_attn.visualization.text import Label

TOP = 5  # predicted classes in the manifest
MOST_PIXELS = 1024  # height and width of an image on a sheet


@dataclass(frozen=True)
class Explanation:
    """Where a model looked in one image, and what each place argued for.

    In a notebook it displays itself as a sheet.

    Attributes:
        prediction: the prediction for the image; if its `error` is set, the image could not be
            read and there are no heatmaps.
        target: the class that the heatmaps explain.
        logit: the logit of that class.
        bias: the bias of that class; the sum of the heatmap `evidence` plus it is the logit.
        heatmaps: the requested maps, by key: `evidence`, `evidence.2`, `head.1`.
        windows: the windows of local heads, if they were requested.
        head_names: the names of all attention heads, if their maps or windows were requested.
        label: the true class and where it is known from; None if it is not known.
        verified: the strongest cells with the effect of deleting each, if it was requested.
    """

    prediction: Prediction
    target: str = ""
    logit: float = math.nan
    bias: float = math.nan
    heatmaps: dict[str, Heatmap] = field(default_factory=dict)
    windows: Sequence[Window] = ()
    head_names: Sequence[str] = ()
    label: "Label | None" = None
    verified: Sequence[VerifiedCell] = ()

    def figure(
        self,
        cells: bool = False,
        masks: ReadMask | None = None,
        scales: Mapping[str, float] | None = None,
    ) -> "Figure":
        """A sheet: the image, its predictions, and every heatmap over the image.

        Args:
            cells: whether to draw the borders of each map's cells.
            masks: gives the mask of the object, which is then outlined.
            scales: the value in full color of each group of maps; None means the image's own.

        Raises:
            OSError: the image cannot be read.
        """
        import numpy as np

        from vision_attn.visualization.panels import OverlayRow
        from vision_attn.visualization.sheet import sheet

        if self.prediction.error is not None:
            raise OSError(self.prediction.error)
        path, gray_range = self.prediction.path, self.prediction.gray_range
        pixels = np.asarray(full_size(self.prediction.source, MOST_PIXELS, gray_range))
        mask = None if masks is None else masks(path, *pixels.shape[:2]).numpy()
        row = OverlayRow(
            path.name,
            pixels,
            self.prediction.top(len(self.prediction.probabilities)),
            list(self.heatmaps.values()),
            self.target,
            mask if mask is not None and mask.any() else None,
            list(self.windows),
            self.label,
            self.head_names,
            describe(self.verified) if self.verified else "",
        )
        return sheet(row, cells, scales)

    def save(
        self,
        path: str | Path,
        cells: bool = False,
        masks: ReadMask | None = None,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        """Write the sheet as a picture; the file extension sets its format: .png, .pdf, .svg.

        Raises:
            OSError: the image cannot be read.
            UserError: the picture cannot be written.
        """
        figure, path = self.figure(cells, masks, scales), Path(path)
        kind = path.suffix.removeprefix(".") or "png"
        atomic_write(path, lambda temporary: figure.savefig(temporary, format=kind))

    def _repr_png_(self) -> bytes | None:
        """The sheet for a notebook; None for an image that could not be read."""
        if self.prediction.error is not None:
            return None
        picture = io.BytesIO()
        self.figure().savefig(picture, format="png")
        return picture.getvalue()
