"""Test heatmap overlays, outlines, windows and figures."""

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
    blend,
    common_scales,
    draw_heatmap,
    sheet,
)

GRAY = np.full((40, 60, 3), 128, np.uint8)


def render(heatmap: Heatmap, cells: bool = False) -> np.ndarray:
    """Render one overlay to pixels, without title and margin."""
    figure = Figure(figsize=(6, 4), dpi=10)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    draw_heatmap(axes, GRAY, heatmap)
    if cells:
        draw_cells(axes, heatmap.values.shape, *GRAY.shape[:2])
    axes.set_title("")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def drawing_difference(pixels: np.ndarray, draw: Callable[[Axes], None]) -> np.ndarray:
    """Compute how much drawing changes each pixel of an image, at ten times its size."""
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


def test_the_hot_quarter_is_drawn_hot() -> None:
    picture = render(Heatmap("map", torch.tensor([[0.0, 0.0], [0.0, 1.0]]), signed=False))
    quarters = picture.reshape(2, 20, 2, 30, 3).mean((1, 3))
    redness = quarters[..., 0] - quarters[..., 2]
    assert redness.argmax() == 3
    assert redness[1, 1] > 4 * abs(redness[0, 0])


def test_negative_is_blue_and_positive_is_red() -> None:
    picture = render(Heatmap("map", torch.tensor([[-1.0, 1.0]]), signed=True))
    left, right = picture[:, :20].mean((0, 1)), picture[:, -20:].mean((0, 1))
    assert left[2] > left[0] + 40
    assert right[0] > right[2] + 40


def test_an_empty_map_leaves_the_image_unchanged() -> None:
    for values in (torch.zeros(2, 2), torch.full((2, 2), torch.nan), -torch.ones(2, 2)):
        picture = render(Heatmap("map", values, signed=False))
        assert abs(picture - 128).max() <= 1


def test_maps_of_a_method_share_a_color_scale_across_rows() -> None:
    strong, weak = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.1]])
    rows = [
        OverlayRow(f"{k}.png", GRAY, [("ant", 1.0)], [Heatmap("map", values, signed=False)], "ant")
        for k, values in enumerate((strong, weak))
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
    scales = common_scales([OverlayRow("x.png", GRAY, [], maps, "cat")])
    assert scales == {"evidence": 2.0, "head": 4.0}


def test_grid_lines_between_cells() -> None:
    heatmap = Heatmap("map", torch.rand(2, 3), signed=False)
    plain = render(heatmap)
    with_cells = render(heatmap, cells=True)
    changed = (plain != with_cells).any(2)
    assert changed[18:22].mean() > 0.2
    assert changed[:, 18:22].mean() > 0.2
    assert changed[8:12, 8:12].mean() == 0
    pixels = Heatmap("map", torch.rand(40, 60), signed=False)
    assert (render(pixels) == render(pixels, cells=True)).all()


def test_a_figure_has_a_panel_per_map() -> None:
    maps = [Heatmap(f"map {k}", torch.rand(4, 4), signed=bool(k % 2)) for k in range(7)]
    row = OverlayRow("x.png", GRAY, [("ant", 0.75), ("bee", 0.25)], maps, "ant")
    figure = sheet([row])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:9] == ["x.png", "maps for: ant", *(f"map {k}" for k in range(7))]
    texts = [text.get_text() for text in figure.axes[1].texts]
    assert texts == ["ant  75.0%", "bee  25.0%"]


def test_a_large_image() -> None:
    pixels = np.zeros((3000, 2000, 3), np.uint8)
    heatmap = Heatmap("map", torch.rand(7, 7), signed=True)
    figure = sheet([OverlayRow("x.png", pixels, [("ant", 1.0)], [heatmap], "ant")])
    assert len(figure.axes) == 3


@pytest.mark.parametrize("gray", [0, 128, 255])
def test_an_outline_is_visible_on_light_and_dark_pixels(gray: int) -> None:
    """The object covers rows 10 to 19 and columns 20 to 39 of 40 x 60 pixels."""
    mask = np.zeros((40, 60), bool)
    mask[10:20, 20:40] = True
    changed = drawing_difference(
        np.full((40, 60, 3), gray, np.uint8), lambda axes: draw_outline(axes, mask)
    )
    assert changed[97:104, 210:390].max(0).min() > 80  # upper side, at row 10
    assert changed[110:190, 397:404].max(1).min() > 80  # right side, at column 40
    assert changed[110:190, 210:390].max() == 0
    assert changed[:90].max() == 0


def test_an_outline_is_drawn_along_the_image_border() -> None:
    changed = drawing_difference(GRAY, lambda axes: draw_outline(axes, np.ones((40, 60), bool)))
    assert changed[:2, 5:-5].max(0).min() > 80
    assert changed[10:-10, 10:-10].max() == 0
    assert (
        drawing_difference(GRAY, lambda axes: draw_outline(axes, np.zeros((40, 60), bool))).max()
        == 0
    )


def test_windows_are_drawn_at_their_position() -> None:
    """A frame of rows 10 to 30 and columns 15 to 45 of 40 x 60; an ellipse of half its size."""
    window = Window((2,), (0.5, 0.5), (0.25, 0.25), (0.125, 0.125), "about")
    changed = drawing_difference(GRAY, lambda axes: draw_windows(axes, [window], 40, 60))
    across = np.flatnonzero(changed.max(0) > 60)
    down = np.flatnonzero(changed.max(1) > 60)
    assert across.min() == pytest.approx(150, abs=3)
    assert across.max() == pytest.approx(450, abs=3)
    assert down.min() == pytest.approx(100, abs=3)
    assert down.max() == pytest.approx(300, abs=3)
    # at x = 26, the ellipse of 7.5 by 5 pixels is 5 * sqrt(1 - (4/7.5)^2) = 4.2 high
    inner = 110 + np.flatnonzero(changed[110:290, 260] > 60)
    assert inner.min() == pytest.approx(158, abs=5)
    assert inner.max() == pytest.approx(242, abs=5)


def test_a_figure_captions_its_windows_and_outlines_every_image() -> None:
    window = Window((0,), (0.5, 0.5), (0.25, 0.25), None, "frames: windows")
    mask = np.zeros((40, 60), bool)
    mask[5:9, 5:9] = True
    maps = [Heatmap("evidence", torch.ones(2, 2) * 0.25, signed=True)]
    row = OverlayRow("x.png", GRAY, [("ant", 1.0)], maps, "ant", mask, [window])
    image, probabilities, evidence, windows = sheet([row]).axes
    assert windows.get_title() == "windows"
    assert [text.get_text() for text in windows.texts] == ["1", "frames: windows"]
    assert [text.get_text() for text in evidence.texts] == ["full color: ±0.25"]
    outlines = [
        [artist for artist in axes.collections if isinstance(artist, QuadContourSet)]
        for axes in (image, evidence, windows, probabilities)
    ]
    assert [len(found) for found in outlines] == [1, 1, 1, 0]


def test_the_outline_of_a_large_image_is_downsampled_with_it() -> None:
    mask = np.zeros((3000, 2000), bool)
    mask[1500:] = True
    pixels = np.zeros((3000, 2000, 3), np.uint8)
    figure = sheet([OverlayRow("x.png", pixels, [("ant", 1.0)], [], "ant", mask)])
    (outline,) = figure.axes[0].collections
    (path,) = outline.get_paths()
    assert path.vertices[:, 1].min() == pytest.approx(499.5)  # every third row of 1500


@pytest.mark.parametrize("signed", [False, True])
def test_blend_matches_the_figure(signed: bool) -> None:
    heatmap = Heatmap("map", torch.randn(3, 4), signed=signed)
    assert abs(render(heatmap) - blend(GRAY, heatmap)).max() <= 4  # of 255


def test_blend_of_an_empty_map_is_the_image() -> None:
    for values in (torch.zeros(2, 2), torch.full((2, 2), torch.nan)):
        assert (blend(GRAY, Heatmap("map", values, signed=True)) == GRAY).all()
