"""Sheets: the image, its probabilities and all its heatmaps in one balanced figure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import matplotlib as mpl
from matplotlib.figure import Figure

from vision_attn.core.heatmap import Heatmap
from vision_attn.core.terminal import printable
from vision_attn.visualization.fonts import font_families
from vision_attn.visualization.layout import Box, Page, balanced, panel_size
from vision_attn.visualization.overlay import family, scale_groups
from vision_attn.visualization.panels import ABOVE, BAR, BELOW, GRAY, INK, Drawing, OverlayRow
from vision_attn.visualization.text import heading, probability_text, shown_name, sum_note, wrapped

MARGIN, GAP = 0.2, 0.2  # inches
HEADING, SUBHEADING, ROW_LABEL = 14, 9, 12  # points
Panel = Callable[[Drawing, Box], None]


@dataclass(frozen=True)
class Line:
    """One line of panels.

    Attributes:
        cells: the panels from left to right; None leaves a place empty.
        row: the image that they belong to.
        label: the heading above the line.
        small: smaller text below the heading.
        name: what the panels from `first` on show, written above them.
        first: the number of the first panel that `name` is about.
        with_bars: whether the probabilities stand below the first panel.
    """

    cells: Sequence[Panel | None]
    row: OverlayRow
    label: str = ""
    small: str = ""
    name: str = ""
    first: int = 0
    with_bars: bool = False

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of its panels in inches."""
        return panel_size(*self.row.pixels.shape[:2])

    def height(self, width: float) -> float:
        """Height with all its texts, on a page of some width."""
        bars = bars_height(self.row)
        below = max(BELOW, ABOVE + 0.05 + bars) if self.with_bars else BELOW
        panel = max(self.size[1], bars - BELOW if Drawing.bars in self.cells else 0)
        return text_height(self, width) + ABOVE + panel + below + GAP


def bars_height(row: OverlayRow) -> float:
    """Height of the bars of probabilities and the note below them, in inches."""
    return BAR * len(row.bars) + 0.4 * bool(sum_note(dict(row.predictions)))


def text_height(line: Line, width: float) -> float:
    """Height of the texts above a line, in inches."""
    label = wrapped(line.label, width, HEADING).count("\n") + 1 if line.label else 0
    small = wrapped(line.small, width, SUBHEADING).count("\n") + 1 if line.small else 0
    return 0.27 * label + 0.17 * small + 0.08 * bool(label) + 0.27 * bool(line.name)


def sheet(
    row: OverlayRow, cells: bool = False, scales: Mapping[str, float] | None = None
) -> Figure:
    """Draw a figure with an image, its probabilities and its heatmaps.

    Args:
        row: the image.
        cells: whether to draw grid lines between the cells of each map.
        scales: the value in full color of each group of maps; None means the image's own.
    """
    own = scale_groups(row.heatmaps) if scales is None else scales
    return page_of(list(lines_of(row)), {id(row): own}, cells)


def table(rows: Sequence[OverlayRow], shared_scale: bool = False, bars: bool = True) -> Figure:
    """Draw several images, one per line.

    Args:
        rows: the images.
        shared_scale: whether the images share their color scales; else each has its own.
        bars: whether the probabilities get a panel.
    """
    common = scale_groups(heatmap for row in rows for heatmap in row.heatmaps)
    scales = {id(r): common if shared_scale else scale_groups(r.heatmaps) for r in rows}
    first: list[Panel] = [Drawing.image, Drawing.bars] if bars else [Drawing.image]
    lines = [
        Line([*first, *map(panel_of, row.heatmaps)], row, title_of(row), subtitle_of(row))
        for row in rows
    ]
    return page_of(lines, scales, cells=False)


def title_of(row: OverlayRow) -> str:
    """The heading of an image."""
    return heading(dict(row.predictions), row.label) if row.predictions else printable(row.title)


def subtitle_of(row: OverlayRow) -> str:
    """The file, where the label is from, and which class the maps are for."""
    parts = [printable(row.title)]
    if row.label is not None:
        parts.append(f"label from {printable(row.label.source)}")
    if row.heatmaps:
        parts.append(f"maps for {shown_name(row.target)}")
    if row.note:
        parts.append(row.note)
    return " · ".join(parts)


def panel_of(heatmap: Heatmap) -> Panel:
    """The panel that draws a heatmap."""
    return partial(lambda drawing, box, shown: drawing.heatmap(shown, box), shown=heatmap)


def lines_of(row: OverlayRow) -> Iterator[Line]:
    """The lines of an image's sheet: its maps in balanced rows, or a row per class; then heads."""
    maps = [heatmap for heatmap in row.heatmaps if heatmap.head is None]
    kinds = {family(heatmap) for heatmap in maps if ": " in heatmap.name}
    extra: list[Panel] = [Drawing.windows] if row.windows else []
    if kinds:
        block = class_lines(row, [m for m in maps if family(m) in kinds], kinds)
        left = [*[panel_of(m) for m in maps if family(m) not in kinds], *extra]
    else:
        panels, left = [*map(panel_of, maps), *extra], []
        block = [Line(cells, row) for cells in in_rows(panels)] or [Line([], row)]
    lines = with_image(block, row, left)
    yield from lines
    columns = max(len(line.cells) for line in lines)
    heads = [panel_of(heatmap) for heatmap in row.heatmaps if heatmap.head is not None]
    for number, cells in enumerate(in_rows(heads, columns)):
        yield Line(cells, row, name="" if number else "Attention of each head")


def in_rows(panels: Sequence[Panel], most: int | None = None) -> list[list[Panel]]:
    """Panels in balanced rows, of `most` panels at most."""
    sizes = balanced(len(panels))
    while most is not None and sizes and max(sizes) > most:
        rows = len(sizes) + 1
        sizes = [len(panels) // rows + (k < len(panels) % rows) for k in range(rows)]
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    return [list(panels[s : s + n]) for s, n in zip(starts, sizes, strict=True)]


def class_lines(row: OverlayRow, maps: Sequence[Heatmap], kinds: set[str]) -> list[Line]:
    """One line per class, with a column per kind of map and the class's percentage as label."""
    columns = [kind for kind in dict.fromkeys(map(family, maps)) if kind in kinds]
    shares = dict(row.predictions)
    lines = []
    for name in dict.fromkeys([row.target, *(heatmap.target for heatmap in maps)]):
        own = {family(m): m for m in maps if (m.target or row.target) == name}
        cells = [panel_of(own[kind]) if kind in own else None for kind in columns]
        share = f"\u00a0{probability_text(shares[name])}" if name in shares else ""
        lines.append(Line(cells, row, name=f"{shown_name(name)}{share}"))
    return lines


def with_image(block: Sequence[Line], row: OverlayRow, left: Sequence[Panel]) -> list[Line]:
    """Put the image, its probabilities and other panels in columns to the left of some lines."""
    alone = len(block) == 1 and not left
    panels: list[Panel] = [Drawing.image, *([] if alone else [Drawing.bars]), *left]
    columns = -(-len(panels) // len(block))
    lines = []
    for number, line in enumerate(block):
        own = panels[number :: len(block)]
        cells = [*own, *[None] * (columns - len(own)), *line.cells]
        label, small = (title_of(row), subtitle_of(row)) if number == 0 else ("", "")
        bars = alone and number == 0
        lines.append(Line(cells, row, label, small, line.name, columns, bars))
    return lines


def texts_of(lines: Sequence[Line]) -> list[str]:
    """All texts from outside that are written on a page, for which fonts are needed."""
    rows = [line.row for line in lines]
    texts = [text for line in lines for text in (line.label, line.small, line.name)]
    texts += [name for row in rows for name, _ in row.bars]
    return texts + [heatmap.name for row in rows for heatmap in row.heatmaps]


def page_of(
    lines: Sequence[Line], scales: Mapping[int, Mapping[str, float]], cells: bool
) -> Figure:
    """Draw lines below each other, on a page that is as large as they need."""
    width = max(len(line.cells) * (line.size[0] + GAP) for line in lines) - GAP
    height = sum(line.height(width) for line in lines) - GAP
    with mpl.rc_context({"font.family": font_families(texts_of(lines))}):
        page = Page(width + 2 * MARGIN, height + 2 * MARGIN)
        top = MARGIN
        for line in lines:
            draw_line(Drawing(page, line.row, scales[id(line.row)], cells), line, top, width)
            top += line.height(width)
    return page.figure


def draw_line(drawing: Drawing, line: Line, top: float, width: float) -> None:
    """Draw a line of panels and the texts above it, from `top` inches downwards."""
    below = text_height(line, width)
    side, tall = line.size
    label = wrapped(line.label, width, HEADING)
    drawing.page.text(MARGIN, top, label, fontsize=HEADING, weight="bold", color=INK)
    small, under = wrapped(line.small, width, SUBHEADING), 0.02 + 0.27 * (label.count("\n") + 1)
    drawing.page.text(MARGIN, top + under, small, fontsize=SUBHEADING, color=GRAY)
    place = MARGIN + line.first * (side + GAP), top + below - 0.22
    drawing.page.text(*place, line.name, fontsize=ROW_LABEL, weight="bold", color=INK)
    for number, panel in enumerate(line.cells):
        box = Box(MARGIN + number * (side + GAP), top + below + ABOVE, side, tall)
        if panel is not None:
            panel(drawing, box)
        if number == 0 and line.with_bars:
            drawing.bars(box._replace(top=box.top + tall + ABOVE + 0.05))
