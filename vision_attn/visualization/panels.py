"""Panels of a sheet: the image, its probabilities, a heatmap with its color bar, windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from vision_attn.core.heatmap import Heatmap
from vision_attn.pooling.base import Window
from vision_attn.visualization.annotations import draw_cells, draw_outline, draw_windows
from vision_attn.visualization.captum_overlay import draw_overlay
from vision_attn.visualization.layout import Box, Page
from vision_attn.visualization.overlay import (
    display_size,
    gradient,
    group_of,
    is_empty,
    text_of_sum,
    texts_of_ends,
)
from vision_attn.visualization.text import Label, probability_text, shown_name, sum_note, wrapped

BARS = 5  # most probable classes that get a bar
BAR = 0.27  # inches per bar
FULL_BAR = 0.34  # share of the panel's width that 100 % takes
ACCENT, OTHER, INK, GRAY = "#c8401f", "#9aa5b5", "#111111", "#555555"
TITLE, SMALL = 11, 8.5  # points
ABOVE, BELOW = 0.27, 0.82  # inches for the title and for the color bar with its texts


@dataclass(frozen=True)
class OverlayRow:
    """One image with its predictions and heatmaps.

    Attributes:
        title: the file name.
        pixels: (H, W, 3), uint8.
        predictions: class names and probabilities, most probable first; all of them, or the first.
        heatmaps: in drawing order.
        target: the class that the maps explain.
        outline: the object mask, bool (H, W), if it is known.
        windows: the attention windows of the heads; they get an extra panel if there are any.
        label: the true class, if it is known.
        window_names: the names of heads by their index, for the windows.
        note: what else is said of the maps; empty for nothing.
    """

    title: str
    pixels: NDArray[np.uint8]
    predictions: Sequence[tuple[str, float]]
    heatmaps: Sequence[Heatmap]
    target: str
    outline: NDArray[np.bool_] | None = None
    windows: Sequence[Window] = ()
    label: Label | None = None
    window_names: Sequence[str] = ()
    note: str = ""

    @property
    def bars(self) -> list[tuple[str, float]]:
        """The classes that get a bar: the most probable ones, the target and the label."""
        wanted = {self.target, *([self.label.name] if self.label else [])}
        others = [entry for entry in self.predictions[BARS:] if entry[0] in wanted]
        return [*self.predictions[:BARS], *others]


@dataclass(frozen=True)
class Drawing:
    """Draws the panels of an image into boxes of a page.

    Attributes:
        page: the page.
        row: the image.
        scales: the value in full color of each group of maps.
        cells: whether to draw grid lines between the cells of each map.
    """

    page: Page
    row: OverlayRow
    scales: Mapping[str, float]
    cells: bool = False

    def image(self, box: Box) -> None:
        """Draw the image itself."""
        self.picture(box, display_size(self.row.pixels), "image")

    def picture(self, box: Box, pixels: NDArray[np.uint8], title: str) -> Axes:
        """Draw pixels below a title, with the outline of the object."""
        axes = self.page.axes(box)
        axes.imshow(pixels)
        axes.set_title(title, fontsize=TITLE, color=INK, parse_math=False, pad=4)
        if self.row.outline is not None:
            draw_outline(axes, display_size(self.row.outline))
        return axes

    def heatmap(self, heatmap: Heatmap, box: Box) -> None:
        """Draw a heatmap over the image, with its color bar and what its values mean."""
        pixels, scale = display_size(self.row.pixels), self.scales[group_of(heatmap)]
        title = shown_name(heatmap.name.split(": ")[0])
        empty = is_empty(heatmap, scale)
        title = f"{title} (empty)" if empty else title
        axes = self.picture(box, pixels, title)
        if not empty:
            draw_overlay(axes, pixels, heatmap, scale)
        if self.cells:
            draw_cells(axes, heatmap.values.shape[-2:], *pixels.shape[:2])
        own = [window for window in self.row.windows if heatmap.head in window.heads]
        self.frames(axes, own, pixels)
        if not empty:
            self.color_bar(heatmap, scale, box)
            self.caption(box, text_of_sum(heatmap), BELOW - 0.3)

    def frames(self, axes: Axes, windows: Sequence[Window], pixels: NDArray[np.uint8]) -> None:
        """Draw attention windows over an image."""
        height, width = pixels.shape[:2]
        draw_windows(axes, windows, height, width, self.row.window_names)

    def color_bar(self, heatmap: Heatmap, scale: float, box: Box) -> None:
        """Draw a color bar below a map, with words and values at its ends."""
        top = box.top + box.height
        axes = self.page.axes(Box(box.left, top + 0.06, box.width, 0.1))
        axes.imshow(gradient(heatmap.signed), aspect="auto")
        axes.set_xlim(-0.5, 255.5)
        words = texts_of_ends(heatmap, scale)
        places = np.linspace(0, box.width, len(words)).tolist()
        sides = ["left", *["center"] * (len(words) - 2), "right"]
        for text, place, side in zip(words, places, sides, strict=True):
            for line, part in enumerate(text.split("\n")):
                below = top + 0.29 + 0.15 * line
                self.page.text(box.left + place, below, part, ha=side, va="baseline",
                               fontsize=SMALL, color=INK)  # fmt: skip

    def caption(self, box: Box, text: str, below: float) -> None:
        """Write small text some inches below a panel."""
        place = box.left + box.width / 2, box.top + box.height + below
        lines = wrapped(text, box.width, SMALL)
        self.page.text(*place, lines, ha="center", fontsize=SMALL, color=GRAY)

    def bars(self, box: Box) -> None:
        """Draw the probabilities as bars, with their names and percentages to the right of them."""
        shown = self.row.bars
        axes = self.page.axes(box._replace(height=BAR * len(shown)))
        names, probabilities = [name for name, _ in shown], [share for _, share in shown]
        colors = [ACCENT if name == self.row.target else OTHER for name in names]
        axes.barh(
            range(len(shown)), [FULL_BAR * p for p in probabilities], color=colors, height=0.7
        )
        for y, (name, share) in enumerate(shown):
            labeled = self.row.label is not None and self.row.label.name == name
            after = f" {probability_text(share)}" + " (label)" * labeled
            room = (0.98 - FULL_BAR * share) * box.width * 72 / (0.62 * 9) - len(after)
            text = shown_name(name, max(3, int(room))) + after
            bold = "bold" if name == self.row.target else "normal"
            place = FULL_BAR * share + 0.02
            axes.text(place, y, text, va="center", fontsize=9, color=INK, weight=bold,
                      parse_math=False)  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5))
        axes.set_title("probabilities", fontsize=TITLE, color=INK, pad=4)
        note = sum_note(dict(self.row.predictions))
        if note:
            self.caption(box._replace(height=BAR * len(shown)), note, 0.05)

    def windows(self, box: Box) -> None:
        """Draw the attention windows of all heads over a paler image."""
        pixels = display_size(self.row.pixels)
        pale = pixels // 2 + 96  # so that thin lines stay visible
        axes = self.picture(box, pale, "windows")
        self.frames(axes, self.row.windows, pixels)
        about = "; ".join(dict.fromkeys(window.about for window in self.row.windows))
        self.caption(box, about, 0.06)
