"""Pictures: what is hot is drawn hot, where it is."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from vision_attn.pooling.base import Window
from vision_attn.visualization.annotations import draw_cells, draw_outline, draw_windows
from vision_attn.visualization.overlay import (
    Heatmap,
    OverlayRow,
    blended,
    common_scales,
    draw_heatmap,
    sheet,
)

GREY = np.full((40, 60, 3), 128, np.uint8)


def drawn(heatmap: Heatmap, cells: bool = False) -> np.ndarray:
    """The pixels of one overlay, without title and margin."""
    figure = Figure(figsize=(6, 4), dpi=10)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    draw_heatmap(axes, GREY, heatmap)
    if cells:
        draw_cells(axes, heatmap.values.shape, *GREY.shape[:2])
    axes.set_title("")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def painted(pixels: np.ndarray, draw: Callable[[Axes], None]) -> np.ndarray:
    """How far each pixel of a picture is changed by what is drawn on it, at ten times its size."""
    pictures = []
    for work in (lambda axes: None, draw):
        figure = Figure(figsize=(pixels.shape[1] / 10, pixels.shape[0] / 10), dpi=100)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.imshow(pixels)
        axes.set_axis_off()
        work(axes)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba())[..., :3].astype(int))
    return abs(pictures[0] - pictures[1]).max(2)


def test_the_hot_quarter_is_the_hot_quarter() -> None:
    picture = drawn(Heatmap("map", torch.tensor([[0.0, 0.0], [0.0, 1.0]]), signed=False))
    quarters = picture.reshape(2, 20, 2, 30, 3).mean((1, 3))
    redness = quarters[..., 0] - quarters[..., 2]
    assert redness.argmax() == 3
    assert redness[1, 1] > 4 * abs(redness[0, 0])


def test_signs_have_colours() -> None:
    picture = drawn(Heatmap("map", torch.tensor([[-1.0, 1.0]]), signed=True))
    left, right = picture[:, :20].mean((0, 1)), picture[:, -20:].mean((0, 1))
    assert left[2] > left[0] + 40
    assert right[0] > right[2] + 40


def test_a_map_that_says_nothing_leaves_the_image() -> None:
    for values in (torch.zeros(2, 2), torch.full((2, 2), torch.nan), -torch.ones(2, 2)):
        picture = drawn(Heatmap("map", values, signed=False))
        assert abs(picture - 128).max() <= 1


def test_a_faint_map_looks_faint_beside_a_strong_one() -> None:
    strong, faint = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.1]])
    rows = [
        OverlayRow(f"{k}.png", GREY, [("ant", 1.0)], [Heatmap("map", values, signed=False)], "ant")
        for k, values in enumerate((strong, faint))
    ]
    assert common_scales(rows) == {"map": pytest.approx(1.0, abs=0.01)}
    figure = sheet(rows)
    figure.canvas.draw()
    drawn_maps = [axes.images[-1] for axes in figure.axes if axes.get_title() == "map"]
    seen = [image.get_array()[:-1].max() for image in drawn_maps]  # without the hidden row
    assert seen[0] > 0.9
    assert 0.05 < seen[1] < 0.15


def test_maps_of_classes_and_heads_share_a_scale() -> None:
    names = {"evidence: cat": 1.0, "evidence: dog": 2.0, "head 1": 3.0, "head 12": 4.0}
    maps = [Heatmap(name, torch.full((2, 2), v), signed=True) for name, v in names.items()]
    scales = common_scales([OverlayRow("x.png", GREY, [], maps, "cat")])
    assert scales == {"evidence": 2.0, "head": 4.0}


def test_borders_of_cells() -> None:
    heatmap = Heatmap("map", torch.rand(2, 3), signed=False)
    plain = drawn(heatmap)
    with_cells = drawn(heatmap, cells=True)
    changed = (plain != with_cells).any(2)
    assert changed[18:22].mean() > 0.2
    assert changed[:, 18:22].mean() > 0.2
    assert changed[8:12, 8:12].mean() == 0
    pixels = Heatmap("map", torch.rand(40, 60), signed=False)
    assert (drawn(pixels) == drawn(pixels, cells=True)).all()


def test_a_sheet_has_a_panel_for_each_map() -> None:
    maps = [Heatmap(f"map {k}", torch.rand(4, 4), signed=bool(k % 2)) for k in range(7)]
    explained = OverlayRow("x.png", GREY, [("ant", 0.75), ("bee", 0.25)], maps, "ant")
    figure = sheet([explained])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:9] == ["x.png", "maps for: ant", *(f"map {k}" for k in range(7))]
    texts = [text.get_text() for text in figure.axes[1].texts]
    assert texts == ["ant  75.0%", "bee  25.0%"]


def test_a_large_photograph() -> None:
    pixels = np.zeros((3000, 2000, 3), np.uint8)
    heatmap = Heatmap("map", torch.rand(7, 7), signed=True)
    figure = sheet([OverlayRow("x.png", pixels, [("ant", 1.0)], [heatmap], "ant")])
    assert len(figure.axes) == 3


@pytest.mark.parametrize("gray", [0, 128, 255])
def test_an_outline_is_seen_on_light_and_on_dark_pixels(gray: int) -> None:
    """The border of rows 10 to 19 and columns 20 to 39, of 40 x 60 pixels."""
    mask = np.zeros((40, 60), bool)
    mask[10:20, 20:40] = True
    changed = painted(np.full((40, 60, 3), gray, np.uint8), lambda axes: draw_outline(axes, mask))
    assert changed[97:104, 210:390].max(0).min() > 80  # its upper side, at row 10
    assert changed[110:190, 397:404].max(1).min() > 80  # its right side, at column 40
    assert changed[110:190, 210:390].max() == 0
    assert changed[:90].max() == 0


def test_an_outline_runs_along_the_border_of_the_image() -> None:
    changed = painted(GREY, lambda axes: draw_outline(axes, np.ones((40, 60), bool)))
    assert changed[:2, 5:-5].max(0).min() > 80
    assert changed[10:-10, 10:-10].max() == 0
    assert painted(GREY, lambda axes: draw_outline(axes, np.zeros((40, 60), bool))).max() == 0


def test_windows_are_drawn_where_they_are() -> None:
    """A frame of rows 10 to 30 and columns 15 to 45 of 40 x 60, an oval of half that inside."""
    window = Window((2,), (0.5, 0.5), (0.25, 0.25), (0.125, 0.125), "about")
    changed = painted(GREY, lambda axes: draw_windows(axes, [window], 40, 60))
    across = np.flatnonzero(changed.max(0) > 60)
    down = np.flatnonzero(changed.max(1) > 60)
    assert across.min() == pytest.approx(150, abs=3)
    assert across.max() == pytest.approx(450, abs=3)
    assert down.min() == pytest.approx(100, abs=3)
    assert down.max() == pytest.approx(300, abs=3)
    # at x = 26 the oval of 7.5 by 5 pixels is 5 * sqrt(1 - (4/7.5)^2) = 4.2 high
    inner = 110 + np.flatnonzero(changed[110:290, 260] > 60)
    assert inner.min() == pytest.approx(158, abs=5)
    assert inner.max() == pytest.approx(242, abs=5)


def test_a_sheet_says_what_its_windows_are_and_outlines_every_picture() -> None:
    window = Window((0,), (0.5, 0.5), (0.25, 0.25), None, "frames: windows")
    mask = np.zeros((40, 60), bool)
    mask[5:9, 5:9] = True
    maps = [Heatmap("evidence", torch.ones(2, 2) * 0.25, signed=True)]
    explained = OverlayRow("x.png", GREY, [("ant", 1.0)], maps, "ant", mask, [window])
    image, probabilities, evidence, windows = sheet([explained]).axes
    assert windows.get_title() == "windows"
    assert [text.get_text() for text in windows.texts] == ["1", "frames: windows"]
    assert [text.get_text() for text in evidence.texts] == ["full colour: ±0.25"]
    outlines = [
        [drawn for drawn in axes.collections if isinstance(drawn, QuadContourSet)]
        for axes in (image, evidence, windows, probabilities)
    ]
    assert [len(found) for found in outlines] == [1, 1, 1, 0]


def test_the_outline_of_a_large_photograph_is_reduced_as_it_is() -> None:
    mask = np.zeros((3000, 2000), bool)
    mask[1500:] = True
    pixels = np.zeros((3000, 2000, 3), np.uint8)
    figure = sheet([OverlayRow("x.png", pixels, [("ant", 1.0)], [], "ant", mask)])
    (outline,) = figure.axes[0].collections
    (path,) = outline.get_paths()
    assert path.vertices[:, 1].min() == pytest.approx(499.5)  # every third row of 1500


@pytest.mark.parametrize("signed", [False, True])
def test_pixels_and_figures_agree(signed: bool) -> None:
    heatmap = Heatmap("map", torch.randn(3, 4), signed=signed)
    assert abs(drawn(heatmap) - blended(GREY, heatmap)).max() <= 4  # of 255


def test_pixels_of_a_map_that_says_nothing() -> None:
    for values in (torch.zeros(2, 2), torch.full((2, 2), torch.nan)):
        assert (blended(GREY, Heatmap("map", values, signed=True)) == GREY).all()
